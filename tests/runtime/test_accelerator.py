"""The placement, or an error, from what LiteRT reports and logs. Needs no accelerator."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from bokeh_runtime import BokehModel, HardwareError, InputError, cli
from bokeh_runtime.backends.accelerator import AcceleratedModel
from bokeh_runtime.backends.interpreter import TfliteModel, installed_interpreters
from bokeh_runtime.tflite.file import Operator, TfliteFile, read_tflite
from helpers.fake_litert import (
    NO_ADAPTER,
    NOT_ALL,
    XNNPACK,
    Accelerator,
    FakeLitert,
    Outcome,
    adapter,
    gpu_shares,
    npu,
    unsupported,
)
from helpers.skips import ELSEWHERE

TOTAL = 43
SPACE_TO_DEPTH = 26  # in schema.fbs


@pytest.fixture
def file(data: Path) -> TfliteFile:
    file = read_tflite(data / "small_float16.tflite")
    assert len(file.operators) == TOTAL
    return file


@pytest.fixture
def litert(monkeypatch: pytest.MonkeyPatch, file: TfliteFile) -> FakeLitert:
    litert = FakeLitert().install(monkeypatch)
    litert.like_the_cpu(file)
    return litert


def with_cpu(alone: Outcome, helped: Outcome) -> Callable[[Accelerator, bool], Outcome]:
    """One outcome for the accelerator alone, another with the CPU's help."""
    return lambda accelerators, _: helped if Accelerator.CPU in accelerators else alone


def test_a_model_that_litert_accepts_for_the_gpu_alone_is_fully_accelerated(
    file: TfliteFile, litert: FakeLitert
) -> None:
    model = AcceleratedModel(file, "gpu", allow_partial=True)
    assert litert.asked == [Accelerator.GPU]
    assert model.fully_accelerated
    assert (model.delegated_ops, model.partitions, model.unsupported_ops) == (TOTAL, 1, [])
    assert (model.device.name, model.device.software) == ("Test GPU", False)
    image = np.full((64, 96, 3), 0.25, np.float32)
    expected = TfliteModel(file.content, threads=1).run(image)
    np.testing.assert_allclose(model.run(image), expected, atol=2e-4)


def test_a_software_gpu_is_reported(file: TfliteFile, litert: FakeLitert) -> None:
    litert.on = lambda *_: Outcome(adapter("llvmpipe (LLVM 15)", "CPU / Software"))
    device = AcceleratedModel(file, "gpu").device
    assert (device.name, device.software, device.backend) == ("llvmpipe (LLVM 15)", True, "Vulkan")


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        # LiteRT itself says that it is not whole, and its log cannot be read.
        (Outcome(adapter(), accelerated=False), "does not report which .*allow_partial=True"),
        (Outcome("", accelerated=False), "does not report which"),
        (
            Outcome(adapter() + unsupported("ADD"), accelerated=False),
            "does not support ADD; use allow_partial=True",
        ),
        # It says that it is whole, and the log says otherwise.
        (Outcome(adapter() + unsupported("ADD", "MUL")), "does not support ADD, MUL"),
        (Outcome(adapter() + gpu_shares(40, 3)), "does not report which"),
        # It refuses.
        (
            Outcome(adapter() + unsupported("RFFT2D") + gpu_shares(40, 3), NOT_ALL),
            "does not support RFFT2D",
        ),
        (Outcome(adapter(), NOT_ALL), "does not report which"),
        (Outcome(adapter(), "ERROR: [a.cc:1]\n└ out of memory"), r"cannot run .*\(out of memory\)"),
        (Outcome(NO_ADAPTER, "ERROR: [a.cc:1]"), "no Vulkan device found"),
        # It takes the model, and something went wrong on the way.
        (
            Outcome(adapter() + "vkQueueSubmit failed with VK_ERROR_DEVICE_LOST\n"),
            "VK_ERROR_DEVICE_LOST",
        ),
        (Outcome(adapter() + "E0000 a.cc:7] INTERNAL: no memory\n"), "INTERNAL: no memory"),
    ],
)
def test_a_model_that_is_not_fully_accelerated_is_refused_and_closed(
    outcome: Outcome, message: str, file: TfliteFile, litert: FakeLitert
) -> None:
    litert.on = lambda *_: outcome
    with pytest.raises(HardwareError, match=message):
        AcceleratedModel(file, "gpu")
    assert litert.asked == [Accelerator.GPU]
    assert litert.closed == litert.opened


@pytest.mark.slow
def test_a_refused_model_is_exit_code_3(
    data: Path, litert: FakeLitert, tmp_path: Path, rng: np.random.Generator
) -> None:
    litert.on = lambda *_: Outcome(adapter(), accelerated=False)
    cv2.imwrite(str(tmp_path / "a.png"), rng.integers(0, 256, (40, 60, 3), np.uint8))
    asked = [tmp_path / "a.png", "-m", data / "small_float16.tflite", "-d", "gpu"]
    done = CliRunner().invoke(cli.main, list(map(str, asked)))
    assert done.exit_code == 3
    assert "does not report which" in done.output


@pytest.mark.parametrize(
    ("log", "placed", "left"),
    [
        (unsupported("ADD", "MUL") + gpu_shares(40, 3), 40, ["ADD", "MUL"]),
        (unsupported("ADD") + gpu_shares(0, TOTAL), 0, ["ADD"]),
        (unsupported("ADD"), None, ["ADD"]),
        (gpu_shares(40, 3), 40, None),
        ("", None, None),
        ("40 operators go to the GPU, 3 to the CPU", None, None),
        # Numbers that are not of this model, or of several graphs.
        (gpu_shares(40, 4), None, None),
        (gpu_shares(40, 3) + gpu_shares(42, 1), None, None),
    ],
)
def test_delegated_ops_are_read_from_the_log_or_unknown(
    log: str, placed: int | None, left: list[str] | None, file: TfliteFile, litert: FakeLitert
) -> None:
    # With the CPU's help LiteRT calls everything accelerated that XNNPACK runs.
    helped = Outcome(adapter() + log + XNNPACK, accelerated=True)
    litert.on = with_cpu(Outcome(adapter(), NOT_ALL), helped)
    model = AcceleratedModel(file, "gpu", allow_partial=True)
    assert not model.fully_accelerated
    assert (model.delegated_ops, model.unsupported_ops, model.partitions) == (placed, left, None)
    assert dict(model.reasons) == dict.fromkeys(left or [], "Operation is not supported.")
    model.close()
    assert litert.closed == litert.opened == 1


def test_unknown_delegated_ops_are_reported_as_unknown(
    data: Path, litert: FakeLitert, tmp_path: Path, rng: np.random.Generator
) -> None:
    litert.on = with_cpu(Outcome(adapter(), NOT_ALL), Outcome(adapter()))
    cv2.imwrite(str(tmp_path / "a.png"), rng.integers(0, 256, (40, 60, 3), np.uint8))
    asked = [tmp_path / "a.png", "-m", data / "small_float16.tflite", "-d", "gpu", "--json",
             "--allow-partial"]  # fmt: skip
    done = CliRunner().invoke(cli.main, list(map(str, asked)))
    assert done.exit_code == 0, done.output
    placement = json.loads(done.stdout)["placement"]
    assert (placement["delegated_ops"], placement["total_ops"]) == (None, TOTAL)
    assert placement["unsupported_ops"] is None
    with BokehModel.open(data / "small_float16.tflite", "gpu", allow_partial=True) as model:
        assert str(model.placement) == f"gpu (Test GPU), unknown of {TOTAL} operators"
        assert model.placement.unsupported_text == "unknown"


def test_without_a_gpu_the_model_is_refused_with_allow_partial_too(
    file: TfliteFile, litert: FakeLitert
) -> None:
    litert.on = with_cpu(Outcome(NO_ADAPTER, NOT_ALL), Outcome(NO_ADAPTER + XNNPACK))
    with pytest.raises(HardwareError, match="no Vulkan device found"):
        AcceleratedModel(file, "gpu", allow_partial=True)
    assert litert.opened == litert.closed == 0


def test_a_model_is_fully_accelerated_if_the_npu_plugin_accepts_every_operator(
    file: TfliteFile, litert: FakeLitert
) -> None:
    litert.on = lambda *_: Outcome(npu(TOTAL, TOTAL))
    model = AcceleratedModel(file, "npu")
    assert model.fully_accelerated
    assert (model.delegated_ops, model.partitions, model.unsupported_ops) == (TOTAL, 1, [])


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize(
    "log", ["", XNNPACK, npu(42, TOTAL, applied=0), npu(TOTAL, TOTAL, applied=0)]
)
def test_an_npu_without_evidence_of_a_plugin_is_refused(
    log: str, partial: bool, file: TfliteFile, litert: FakeLitert
) -> None:
    # What LiteRT says once the CPU runs everything.
    litert.on = lambda *_: Outcome(log, accelerated=True)
    with pytest.raises(HardwareError, match="npu: no vendor library accepts the model"):
        AcceleratedModel(file, "npu", allow_partial=partial)
    assert litert.closed == litert.opened


def test_operators_that_an_npu_does_not_support_are_named(
    file: TfliteFile, litert: FakeLitert
) -> None:
    log = npu(42, TOTAL, refused=(SPACE_TO_DEPTH, SPACE_TO_DEPTH))
    litert.on = with_cpu(Outcome(log, NOT_ALL), Outcome(log + XNNPACK, accelerated=True))
    with pytest.raises(HardwareError, match="the npu does not support SPACE_TO_DEPTH"):
        AcceleratedModel(file, "npu")
    model = AcceleratedModel(file, "npu", allow_partial=True)
    assert not model.fully_accelerated
    assert (model.delegated_ops, model.partitions, model.unsupported_ops) == (
        42,
        1,
        ["SPACE_TO_DEPTH"],
    )


def test_delegated_ops_of_an_npu_without_a_log_line_are_unknown(
    file: TfliteFile, litert: FakeLitert
) -> None:
    log = "INFO: 1 compiler plugins were applied successfully: a plugin\n"
    litert.on = with_cpu(Outcome(log, NOT_ALL), Outcome(log))
    model = AcceleratedModel(file, "npu", allow_partial=True)
    assert (model.delegated_ops, model.partitions, model.unsupported_ops) == (None, None, None)


def test_an_npu_that_fails_with_the_cpus_help_is_refused(
    file: TfliteFile, litert: FakeLitert
) -> None:
    litert.on = with_cpu(Outcome(npu(42, TOTAL), NOT_ALL), Outcome(npu(42, TOTAL, applied=0)))
    with pytest.raises(HardwareError, match="no vendor library accepts"):
        AcceleratedModel(file, "npu", allow_partial=True)
    assert litert.closed == litert.opened == 1


def test_a_precompiled_model_needs_no_plugin(file: TfliteFile, litert: FakeLitert) -> None:
    dispatched = Operator("DISPATCH_OP", file.inputs, file.outputs)
    litert.on = lambda *_: Outcome("")
    assert AcceleratedModel(replace(file, operators=[dispatched]), "npu").delegated_ops == 1
    litert.on = with_cpu(Outcome("", NOT_ALL), Outcome(XNNPACK))
    beside = replace(file, operators=[dispatched, file.operators[0]])
    model = AcceleratedModel(beside, "npu", allow_partial=True)
    assert (model.delegated_ops, model.unsupported_ops) == (1, [file.operators[0].name])


@pytest.mark.skipif(
    "ai-edge-litert" not in installed_interpreters(), reason=f"{ELSEWHERE}no LiteRT"
)
def test_litert_without_an_npu_is_refused_although_it_reports_full_acceleration(
    file: TfliteFile,
) -> None:
    with pytest.raises(HardwareError, match="npu: no vendor library accepts the model"):
        AcceleratedModel(file, "npu", allow_partial=True)


@pytest.mark.parametrize(
    "method", ["create_input_buffers", "create_output_buffers", "is_fully_accelerated"]
)
@pytest.mark.parametrize("failure", [RuntimeError("broken"), KeyboardInterrupt(), ValueError("x")])
def test_a_model_that_fails_after_compiling_is_closed(
    method: str, failure: BaseException, file: TfliteFile, litert: FakeLitert
) -> None:
    litert.on = lambda *_: Outcome(adapter(), fails_at=method, failure=failure)
    expected = HardwareError if isinstance(failure, RuntimeError) else type(failure)
    with pytest.raises(expected):
        AcceleratedModel(file, "gpu")
    assert (litert.opened, litert.closed) == (1, 1)


def test_a_device_failure_during_inference_is_reported(
    file: TfliteFile, litert: FakeLitert
) -> None:
    failure = RuntimeError("ERROR: [a.cc:1]\n└ device lost")
    litert.on = lambda *_: Outcome(adapter(), fails_at="run_by_index", failure=failure)
    model = AcceleratedModel(file, "gpu")
    with pytest.raises(HardwareError, match=r"failed on Test GPU \(device lost\)"):
        model.run(np.zeros((64, 96, 3), np.float32))


def test_a_closed_model_raises_an_error_and_closes_once(
    file: TfliteFile, litert: FakeLitert
) -> None:
    model = AcceleratedModel(file, "gpu")
    model.close()
    model.close()
    assert litert.closed == 1
    with pytest.raises(InputError, match="is closed"):
        model.run(np.zeros((64, 96, 3), np.float32))


def test_auto_closes_models_that_it_does_not_use(data: Path, litert: FakeLitert) -> None:
    litert.on = lambda accelerators, _: (
        Outcome(adapter("llvmpipe", "CPU")) if Accelerator.GPU in accelerators else Outcome("")
    )
    with BokehModel.open(data / "small_float16.tflite", "auto") as model:
        assert model.placement.delegate == "cpu"
    assert litert.closed == litert.opened
