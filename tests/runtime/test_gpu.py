"""Models on a Vulkan device, which may be emulated. Skipped without one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bokeh_runtime import BokehModel, HardwareError, probe
from bokeh_runtime.backends import gpu_check
from bokeh_runtime.backends.accelerator import AcceleratedModel
from bokeh_runtime.backends.interpreter import TfliteModel
from bokeh_runtime.metrics.psnr import psnr
from bokeh_runtime.tflite.file import read_tflite
from bokeh_runtime.tflite.metadata import metadata_of
from bokeh_runtime.tflite.reference_pack import find_reference
from helpers.skips import ELSEWHERE

pytestmark = pytest.mark.usefixtures("vulkan")


# Least PSNR from the CPU's output. The GPU computes in float what the file has in integers, so
# integer activations give a output of their own.
@pytest.mark.parametrize(
    ("scheme", "from_cpu"), [("float32", 90), ("float16", 90), ("int8", 40), ("full-integer", 20)]
)
def test_the_gpu_runs_the_whole_model(scheme: str, from_cpu: float, data: Path) -> None:
    file = read_tflite(data / f"small_{scheme}.tflite")
    pack = find_reference(file.path, metadata_of(file))
    assert pack is not None
    model = AcceleratedModel(file, "gpu")
    assert model.delegated_ops == len(file.operators)
    interpreter = TfliteModel(file.content)
    worst = {"gpu": np.inf, "cpu": np.inf}
    for photo, full in zip(pack.inputs, pack.outputs, strict=True):
        tensor = photo / np.float32(255)
        gpu_output, expected = (np.clip(m.run(tensor), 0, 1) for m in (model, interpreter))
        assert not np.array_equal(gpu_output, expected), "identical to the CPU's output"
        assert psnr(gpu_output, expected, border_px=0) > from_cpu
        for name, output in (("gpu", gpu_output), ("cpu", expected)):
            worst[name] = min(worst[name], psnr(output, full, border_px=0))
    # Not further from the full model than the CPU's output, whatever their distance.
    assert worst["gpu"] > worst["cpu"] - 1.0
    model.close()


def test_a_rendering_has_its_placement(data: Path, scene: np.ndarray) -> None:
    with BokehModel.open(data / "small_float16.tflite", "gpu") as model:
        rendering = model.render(scene)
    placement = rendering.placement
    assert placement.delegate == "gpu"
    (probed,) = (found for found in probe() if found.delegate == "gpu")
    assert probed.device is not None
    assert probed.device.startswith(placement.device)
    assert placement.delegated_ops == placement.total_ops
    plain = BokehModel.open(data / "small_float16.tflite", "cpu").render(scene).pixels
    assert np.abs(rendering.pixels.astype(int) - plain).max() <= 1


def test_operators_that_the_gpu_does_not_support_are_named(data: Path, scene: np.ndarray) -> None:
    with pytest.raises(HardwareError, match="does not support COMPLEX_ABS, RFFT2D; use allow"):
        BokehModel.open(data / "fourier.tflite", "gpu")
    with BokehModel.open(data / "fourier.tflite", "gpu", allow_partial=True) as model:
        assert set(model.placement.unsupported_ops) == {"COMPLEX_ABS", "RFFT2D"}
        assert 0 < model.placement.delegated_ops < model.placement.total_ops
        gpu_output = model.render(scene).pixels.astype(int)
    plain = BokehModel.open(data / "fourier.tflite", "cpu").render(scene).pixels
    assert np.abs(gpu_output - plain).max() <= 1


def test_a_device_in_software_is_not_chosen_by_auto(data: Path) -> None:
    if "emulated" not in (next(p for p in probe() if p.delegate == "gpu").device or ""):
        pytest.skip(f"{ELSEWHERE}this device is a real GPU")
    model = BokehModel.open(data / "small_float16.tflite", "auto")
    assert model.placement.delegate == "cpu"
    assert any("emulated by the CPU" in note for note in model.notes)


class HalfWrong(AcceleratedModel):
    """The real GPU, but its output is wrong in half precision."""

    opened: list[bool]  # `force_float32` of each opened model

    def __init__(self, *arguments: object, force_float32: bool = False, **options: object) -> None:
        super().__init__(*arguments, force_float32=force_float32, **options)  # type: ignore[arg-type]
        self._wrong = not force_float32
        self.opened.append(force_float32)

    def run(self, image: np.ndarray) -> np.ndarray:
        return super().run(image) * (0.5 if self._wrong else 1)


def test_a_wrong_output_in_half_precision_switches_to_float32(
    data: Path, monkeypatch: pytest.MonkeyPatch, scene: np.ndarray
) -> None:
    HalfWrong.opened = []
    monkeypatch.setattr("bokeh_runtime.backends.delegates.AcceleratedModel", HalfWrong)
    with BokehModel.open(data / "small_float16.tflite", "gpu") as model:
        assert model.placement.precision == "float32"
        assert any("runs in float32" in note for note in model.notes)
        gpu_output = model.render(scene).pixels.astype(int)
    plain = BokehModel.open(data / "small_float16.tflite", "cpu").render(scene).pixels
    assert np.abs(gpu_output - plain).max() <= 1
    assert HalfWrong.opened == [False, True]
    # The verdict is cached, so the output is not checked again.
    monkeypatch.setattr(gpu_check, "judge", lambda *_: pytest.fail("checked twice"))
    with BokehModel.open(data / "small_float16.tflite", "gpu") as model:
        assert model.placement.precision == "float32"
    (entry,) = json.loads(gpu_check._cache().read_text()).values()
    assert entry == "float32"


def test_an_output_that_is_wrong_in_float32_too_is_an_error(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wrong(AcceleratedModel):
        def run(self, image: np.ndarray) -> np.ndarray:
            return super().run(image) * 0.5

    monkeypatch.setattr("bokeh_runtime.backends.delegates.AcceleratedModel", Wrong)
    with pytest.raises(HardwareError, match=r"output of .* is wrong, in float32 too"):
        BokehModel.open(data / "small_float16.tflite", "gpu")


def test_an_output_identical_to_the_cpus_is_refused(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = read_tflite(data / "small_float16.tflite")

    class Pretender(AcceleratedModel):
        def run(self, image: np.ndarray) -> np.ndarray:
            return TfliteModel(file.content, threads=2).run(image)

    monkeypatch.setattr("bokeh_runtime.backends.delegates.AcceleratedModel", Pretender)
    with pytest.raises(HardwareError, match="bit-identical to the CPU"):
        BokehModel.open(file.path, "gpu", threads=2)


def test_a_damaged_cache_is_ignored(data: Path) -> None:
    gpu_check._cache().parent.mkdir(parents=True)
    gpu_check._cache().write_text("{broken")
    BokehModel.open(data / "small_float16.tflite", "gpu").close()
    assert json.loads(gpu_check._cache().read_text())
