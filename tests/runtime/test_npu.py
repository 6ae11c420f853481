"""Which software an NPU is used with, by the names of files alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bokeh_runtime import HardwareError, InputError
from bokeh_runtime.backends.accelerator import AcceleratedModel
from bokeh_runtime.backends.accelerator_log import plugin_error
from bokeh_runtime.backends.delegates import EngineOptions, open_engine
from bokeh_runtime.backends.npu import compiled_for, find_npu_runtime, is_dispatch_library
from bokeh_runtime.tflite.file import Operator, TfliteFile, read_tflite
from helpers.fake_litert import FakeLitert, Outcome


@pytest.fixture
def file(data: Path) -> TfliteFile:
    return read_tflite(data / "small_float16.tflite")


def test_a_dispatch_library_names_its_vendor_and_may_have_a_compiler(tmp_path: Path) -> None:
    library = tmp_path / "libLiteRtDispatch_Qualcomm.so"
    library.touch()
    assert is_dispatch_library(library)
    assert not is_dispatch_library(tmp_path / "libdelegate.so")
    runtime = find_npu_runtime(library)
    assert runtime is not None
    assert (runtime.name, runtime.dispatch, runtime.compiler) == ("Qualcomm", str(tmp_path), "")
    assert not runtime.software
    (tmp_path / "libLiteRtCompilerPlugin_Qualcomm.so").touch()
    runtime = find_npu_runtime(library)
    assert runtime is not None
    assert runtime.compiler == str(tmp_path)


def test_a_dispatch_library_that_is_not_there_is_wrong_input(
    file: TfliteFile, tmp_path: Path
) -> None:
    library = tmp_path / "libLiteRtDispatch_Qualcomm.so"
    with pytest.raises(InputError, match="no such file; give a vendor's dispatch library"):
        open_engine(file, EngineOptions("npu", library=library))


def test_a_compiled_file_says_for_which_chip_it_is(
    file: TfliteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert compiled_for(file) is None
    stamp = b"Qualcomm" + bytes(100) + b"SM8650" + bytes(100)
    compiled = replace(
        file,
        operators=[Operator("DISPATCH_OP", file.inputs, file.outputs)],
        metadata={"LiteRtStamp": stamp},
    )
    assert compiled_for(compiled) == "Qualcomm SM8650"
    assert compiled_for(replace(compiled, metadata={})) == "an NPU that it does not name"
    litert = FakeLitert().install(monkeypatch)
    litert.on = lambda *_: Outcome("", "ERROR: [a.cc:1]\n└ Failed to create invocation context")
    with pytest.raises(HardwareError, match="is compiled for Qualcomm SM8650, and its dispatch"):
        AcceleratedModel(compiled, "npu")


@pytest.mark.parametrize(
    "log",
    [
        "INFO: 1 compiler plugins were applied successfully: a plugin\n",
        # The counts are those of another graph.
        "INFO: [c.cc:742] Partitioned subgraph<0>, selected 5 ops, from a total of 5 ops. "
        "resulted in 1 partitions.\nINFO: 1 compiler plugins were applied successfully: a plugin\n",
    ],
)
def test_a_model_whose_operators_nobody_counted_is_not_whole(
    log: str, file: TfliteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    litert = FakeLitert().install(monkeypatch)
    litert.on = lambda *_: Outcome(log, accelerated=True)
    with pytest.raises(HardwareError, match="does not run the whole model"):
        AcceleratedModel(file, "npu")


def test_a_library_that_the_plugin_lacks_is_named() -> None:
    log = (
        "└ Could not load shared library /a/libLiteRtCompilerPlugin_X.so: {}: cannot open shared "
        "object file: No such file or directory."
    )
    assert plugin_error(log.format("libnpu.so.1")) == "its plugin needs libnpu.so.1"
    openvino = plugin_error(log.format("libopenvino.so.2631"))
    assert "libopenvino.so.2631" in openvino
    assert "pip install 'bokeh-tflite[npu-openvino]'" in openvino
    assert plugin_error("") == ""


def test_the_plugins_own_reason_is_told(file: TfliteFile, monkeypatch: pytest.MonkeyPatch) -> None:
    litert = FakeLitert().install(monkeypatch)
    litert.on = lambda *_: Outcome(
        "ERROR: [plugin.cc:714] Exception in compilation: Exception from src/core.cpp:117:\n"
        "Exception from src/plugin.cpp:54:\n"
        "Loading failed, aborting. Error: Exception from src/vcl_api.cpp:22:\n"
        "INFO: [compiled_model.cc:1397] 0 compiler plugins were applied successfully: \n"
    )
    with pytest.raises(HardwareError, match=r"accepts the model \(Loading failed, aborting\)"):
        AcceleratedModel(file, "npu", allow_partial=True)
