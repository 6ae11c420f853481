"""`-d npu` with OpenVINO, which computes on the CPU where there is no Intel NPU."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bokeh_runtime import BokehModel, HardwareError, probe
from bokeh_runtime.backends.accelerator import AcceleratedModel
from bokeh_runtime.backends.delegates import EngineOptions, open_engine
from bokeh_runtime.backends.interpreter import TfliteModel
from bokeh_runtime.backends.npu import find_npu_runtime
from bokeh_runtime.metrics.psnr import psnr
from bokeh_runtime.tflite.file import TfliteFile, read_tflite
from bokeh_runtime.tflite.image_ranges import ranges_of
from helpers.commands import command


def outputs(file: TfliteFile, options: EngineOptions) -> tuple[np.ndarray, np.ndarray]:
    """What the delegate computes, and the CPU."""
    shape = file.tensors[file.inputs[0]].shape[1:]
    image = np.random.default_rng(3).random(shape, np.float32)
    engine = open_engine(file, options)
    by_npu = engine.run(image)
    engine.close()
    by_cpu = TfliteModel(file.content, ranges=ranges_of(file, None, None)).run(image)
    return by_npu, by_cpu


def test_a_model_that_openvino_takes_whole_runs_there(data: Path) -> None:
    file = read_tflite(data / "range_signed.tflite")
    engine = open_engine(file, EngineOptions("npu"))
    placement = engine.placement
    engine.close()
    assert (placement.delegate, placement.delegated_ops, placement.partitions) == ("npu", 5, 1)
    assert placement.unsupported_ops == []
    by_npu, by_cpu = outputs(file, EngineOptions("npu"))
    assert psnr(by_npu, by_cpu, border_px=0) > 50
    assert not np.array_equal(by_npu, by_cpu)


def test_a_processor_is_not_called_an_npu(data: Path) -> None:
    runtime = find_npu_runtime()
    assert runtime is not None
    if not runtime.software:  # there is an Intel NPU
        assert "not an NPU" not in runtime.device
        return
    with BokehModel.open(data / "range_signed.tflite", "npu") as model:
        assert "not an NPU" in model.placement.device
        assert "its speed is not that of an NPU" in model.placement.notes[0]
    with BokehModel.open(data / "range_signed.tflite", "auto") as model:
        assert model.placement.delegate == "cpu"
        assert any("would compute on the CPU" in note for note in model.placement.notes)
    found = {each.delegate: each.device for each in probe()}
    assert "not an NPU" in str(found["npu"])


def test_an_operator_that_openvino_refuses_is_named_and_counted(data: Path) -> None:
    file = read_tflite(data / "small_float16.tflite")
    with pytest.raises(HardwareError, match="does not support SPACE_TO_DEPTH"):
        open_engine(file, EngineOptions("npu"))
    options = EngineOptions("npu", allow_partial=True)
    engine = open_engine(file, options)
    placement = engine.placement
    engine.close()
    assert (placement.delegated_ops, placement.total_ops, placement.partitions) == (42, 43, 1)
    by_npu, by_cpu = outputs(file, options)
    assert psnr(by_npu, by_cpu, border_px=0) > 50


def test_a_silent_fall_back_to_the_cpu_is_refused(data: Path) -> None:
    # OpenVINO's plugin fails on the second part, and LiteRT runs all on the CPU.
    file = read_tflite(data / "small_full-integer.tflite")
    with pytest.raises(HardwareError, match="no vendor library accepts the model"):
        AcceleratedModel(file, "npu", allow_partial=True, npu=find_npu_runtime())


def test_a_refused_model_is_exit_code_3_and_one_line(data: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    model = data / "small_float16.tflite"
    done = command("bokeh-render", "a.png", "-m", model, "-d", "npu", cwd=tmp_path)
    assert done.returncode == 3
    assert done.stderr.strip().splitlines()[-1].startswith("bokeh-render: ")
    assert "SPACE_TO_DEPTH" in done.stderr
    assert "--allow-partial" in done.stderr


def test_a_benchmark_reports_the_npu_beside_the_cpu(data: Path, tmp_path: Path) -> None:
    done = command(
        "bokeh-bench", data / "range_signed.tflite", "-dcpu,npu", "--runs=5", "--seconds=0",
        "--json", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = {row["delegate"]: row for row in json.loads(done.stdout)["rows"]}
    placement = rows["npu"]["placement"]
    assert (placement["delegated_ops"], placement["partitions"]) == (5, 1)
    assert rows["npu"]["latency"]["latency_ms"] > 0
