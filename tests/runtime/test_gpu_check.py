"""The verdict on a GPU's picture: what it is kept for, and what stays open. Needs no GPU."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bokeh_runtime import BokehModel, HardwareError, InputError
from bokeh_runtime.backends import gpu_check
from bokeh_runtime.backends.interpreter import TfliteModel
from bokeh_runtime.backends.vulkan import driver_identity
from bokeh_runtime.contract.constants import GPU_CHECK
from bokeh_runtime.tflite.file import read_tflite
from bokeh_runtime.tflite.reference_pack import Reference, load_reference, save_reference
from helpers.fake_litert import (
    NOT_ALL,
    Accelerator,
    FakeLitert,
    Outcome,
    adapter,
    gpu_shares,
)


@pytest.fixture
def path(data: Path, tmp_path: Path) -> Path:
    for name in ("small_float16.tflite", "small.reference.npz"):
        shutil.copy(data / name, tmp_path)
    return tmp_path / "small_float16.tflite"


@pytest.fixture
def litert(monkeypatch: pytest.MonkeyPatch, path: Path) -> FakeLitert:
    litert = FakeLitert().install(monkeypatch)
    litert.like_the_cpu(read_tflite(path))
    monkeypatch.setattr(
        gpu_check, "driver_identity", lambda device: f"the driver of {device}, version 1"
    )
    return litert


def half_wrong(litert: FakeLitert) -> None:
    right = litert.draw
    litert.draw = lambda tensor, float32: right(tensor, float32) * (1 if float32 else 0.5)


def checks(litert: FakeLitert, path: Path, *, allow_partial: bool = False) -> bool:
    """Opens the model, and says whether its picture was drawn to check it."""
    before = litert.runs
    with BokehModel.open(path, "gpu", allow_partial=allow_partial):
        pass
    assert litert.closed == litert.opened
    return litert.runs > before


def test_a_verdict_is_cached(path: Path, litert: FakeLitert) -> None:
    assert checks(litert, path)
    assert not checks(litert, path)


def test_a_float32_verdict_is_cached_too(path: Path, litert: FakeLitert) -> None:
    half_wrong(litert)
    for _ in range(2):
        with BokehModel.open(path, "gpu") as model:
            assert model.placement.precision == "float32"
            assert any("runs in float32" in note for note in model.notes)
        assert litert.closed == litert.opened
    assert litert.runs == 2  # half, then float32; the second time neither


def newer_driver(litert: FakeLitert, path: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(gpu_check, "driver_identity", lambda device: "version 2")


def other_device(litert: FakeLitert, path: Path, patch: pytest.MonkeyPatch) -> None:
    litert.on = lambda *_: Outcome(adapter("Another GPU"))


def newer_check(litert: FakeLitert, path: Path, patch: pytest.MonkeyPatch) -> None:
    newer = replace(GPU_CHECK, version=GPU_CHECK.version + 1)
    patch.setattr(gpu_check, "GPU_CHECK", newer)


def other_limit(litert: FakeLitert, path: Path, patch: pytest.MonkeyPatch) -> None:
    stricter = replace(GPU_CHECK, same_picture_db=GPU_CHECK.same_picture_db + 1)
    patch.setattr(gpu_check, "GPU_CHECK", stricter)


def newer_litert(litert: FakeLitert, path: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(gpu_check, "_litert_version", lambda: "99")


def other_reference(litert: FakeLitert, path: Path, patch: pytest.MonkeyPatch) -> None:
    pack = path.with_name("small.reference.npz")
    old = load_reference(pack)
    save_reference(pack, Reference(old.names[1:], old.inputs[1:], old.outputs[1:]))


def no_reference(litert: FakeLitert, path: Path, patch: pytest.MonkeyPatch) -> None:
    path.with_name("small.reference.npz").unlink()


def broken_cache(litert: FakeLitert, path: Path, patch: pytest.MonkeyPatch) -> None:
    gpu_check._cache().write_text("{broken")


def foreign_cache(litert: FakeLitert, path: Path, patch: pytest.MonkeyPatch) -> None:
    entries = json.loads(gpu_check._cache().read_text())
    gpu_check._cache().write_text(json.dumps(dict.fromkeys(entries, "certainly")))


@pytest.mark.parametrize(
    "change",
    [newer_driver, other_device, newer_check, other_limit, newer_litert, other_reference,
     no_reference, broken_cache, foreign_cache],
)  # fmt: skip
def test_what_a_verdict_depends_on_is_checked_again(
    change: Callable[[FakeLitert, Path, pytest.MonkeyPatch], None],
    path: Path,
    litert: FakeLitert,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert checks(litert, path)
    change(litert, path, monkeypatch)
    assert checks(litert, path)
    assert not checks(litert, path)


def test_verdicts_with_and_without_allow_partial_are_separate(
    path: Path, litert: FakeLitert
) -> None:
    assert checks(litert, path, allow_partial=True)
    assert checks(litert, path, allow_partial=False)
    assert not checks(litert, path, allow_partial=True)


@pytest.mark.parametrize("log", ["", adapter().replace("Vulkan", "Metal")])
def test_without_the_driver_version_nothing_is_cached(
    log: str, path: Path, litert: FakeLitert
) -> None:
    litert.on = lambda *_: Outcome(log)
    assert checks(litert, path)
    assert checks(litert, path)
    assert not gpu_check._cache().exists()


def test_a_driver_that_vulkan_does_not_know_is_unknown(
    path: Path, litert: FakeLitert, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert driver_identity("no such device") is None
    monkeypatch.setattr(gpu_check, "driver_identity", driver_identity)
    assert checks(litert, path)
    assert checks(litert, path)


def test_an_output_identical_to_the_cpus_is_refused(path: Path, litert: FakeLitert) -> None:
    litert.like_the_cpu(read_tflite(path), off_by=0)
    with pytest.raises(HardwareError, match="bit-identical to the CPU"):
        BokehModel.open(path, "gpu", threads=1)
    assert litert.closed == litert.opened == 1


@pytest.mark.parametrize(("log", "accepted"), [("", False), (gpu_shares(40, 3), True)])
def test_the_cpus_own_picture_is_right_where_a_known_part_ran_on_the_gpu(
    log: str, accepted: bool, path: Path, litert: FakeLitert
) -> None:
    """With a part left to the CPU, all that a GPU rounds otherwise may be there."""
    litert.like_the_cpu(read_tflite(path), off_by=0)
    helped, alone = Outcome(adapter() + log), Outcome(adapter(), NOT_ALL)
    litert.on = lambda accelerators, _: helped if Accelerator.CPU in accelerators else alone
    if accepted:
        assert checks(litert, path, allow_partial=True)
    else:
        with pytest.raises(HardwareError, match="bit-identical to the CPU"):
            BokehModel.open(path, "gpu", threads=1, allow_partial=True)
    assert litert.closed == litert.opened


def test_a_gpu_that_runs_nothing_is_refused(path: Path, litert: FakeLitert) -> None:
    helped, alone = Outcome(adapter() + gpu_shares(0, 43)), Outcome(adapter(), NOT_ALL)
    litert.on = lambda accelerators, _: helped if Accelerator.CPU in accelerators else alone
    with pytest.raises(HardwareError, match="runs 0 of 43 operators"):
        BokehModel.open(path, "gpu", allow_partial=True)
    assert litert.closed == litert.opened == 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_gpu_output_that_is_not_finite_is_wrong(
    value: float, path: Path, litert: FakeLitert
) -> None:
    right = litert.draw

    def draw(tensor: np.ndarray, float32: bool) -> np.ndarray:
        output = right(tensor, float32)
        output[0, 0] = output[0, 0] if float32 else value
        return output

    litert.draw = draw
    with BokehModel.open(path, "gpu") as model:
        assert model.placement.precision == "float32"
    litert.draw = lambda tensor, float32: np.full_like(right(tensor, float32), value)
    gpu_check._cache().unlink()
    with pytest.raises(HardwareError, match="is wrong, in float32 too"):
        BokehModel.open(path, "gpu")
    assert litert.closed == litert.opened


def test_the_gpu_is_closed_after_any_error(
    path: Path, litert: FakeLitert, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise InputError("the CPU cannot run it")

    with monkeypatch.context() as patch:
        patch.setattr(TfliteModel, "run", broken)
        with pytest.raises(InputError, match="the CPU cannot run it"):
            BokehModel.open(path, "gpu")
    assert (litert.opened, litert.closed) == (1, 1)

    with monkeypatch.context() as patch:
        patch.setattr(TfliteModel, "run", lambda *_: np.full((64, 96, 3), np.nan, np.float32))
        with pytest.raises(InputError, match="draws NaN or infinity on the CPU"):
            BokehModel.open(path, "gpu")
    assert (litert.opened, litert.closed) == (2, 2)

    path.with_name("small.reference.npz").write_bytes(b"no pack")
    with pytest.raises(InputError, match="is not a reference pack"):
        BokehModel.open(path, "gpu")
    assert (litert.opened, litert.closed) == (3, 3)


def test_a_float32_model_that_fails_leaves_nothing_open(path: Path, litert: FakeLitert) -> None:
    half_wrong(litert)
    litert.on = lambda _, float32: Outcome(adapter(), "no memory" if float32 else "")
    with pytest.raises(HardwareError, match="no memory"):
        BokehModel.open(path, "gpu")
    assert litert.closed == litert.opened == 1
    failure = KeyboardInterrupt()
    litert.on = lambda _, float32: Outcome(
        adapter(), fails_at="run_by_index" if float32 else "", failure=failure
    )
    with pytest.raises(KeyboardInterrupt):
        BokehModel.open(path, "gpu")
    assert litert.closed == litert.opened == 3
