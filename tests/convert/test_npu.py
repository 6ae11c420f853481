"""NPUs by name, and what is made of a compiler's log. Needs no vendor's software."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from flatbuffers import flexbuffers

from bokeh_convert.cli import main
from bokeh_convert.npu.compiled_file import compiled_parts
from bokeh_convert.npu.compiler import RefusedOperators, compile_file
from bokeh_convert.npu.compiler_log import first_error, refusals
from bokeh_convert.npu.emulator import Emulator, require_emulator
from bokeh_convert.npu.libraries import Toolchain, cache_folder, find_toolchain
from bokeh_convert.npu.vendors import VENDORS, find_npus
from bokeh_convert.npu_command import exit_code_for
from bokeh_runtime.errors import HardwareError, InputError
from bokeh_runtime.tflite.metadata import read_metadata
from bokeh_runtime.tflite.reference_pack import (
    EmulatedOutputs,
    Reference,
    find_reference_path,
    load_reference,
    save_reference,
)

# As LiteRT 2.3 and Qualcomm's libraries write it.
OUTPUT = """\
     0.0ms [ ERROR ]   <E> Unsupported datatypes for the HTP Op 'Conv2d' in the node 'Conv2d_1'.
     0.0ms [ ERROR ]   <E> Requested I/O datatype set:
   in[0]:QNN_DATATYPE_FLOAT_32
     0.0ms [ ERROR ]   <E> Unsupported datatypes for the HTP Op 'Conv2d' in the node 'Conv2d_12'.
"""
ERRORS = """\
INFO: [compiler_plugin.cc:948] Applying plugin with SDK version: v2.51.0
ERROR: [qnn_manager.cc:480]
QNN op validation failed: 'Conv2d_1' (type=Conv2d)
  Inputs:
    [0] name="a" dtype=QNN_DATATYPE_FLOAT_32 dims=[1,32,48,12] (no quantization)
    [1] name="b" dtype=QNN_DATATYPE_SFIXED_POINT_8 dims=[3,3,12,8] per-channel-quant
  Outputs:
    [0] name="c" dtype=QNN_DATATYPE_FLOAT_32 dims=[1,32,48,8] (no quantization)
  QNN error=3110. See the QNN validator log lines above for the specific reason.
ERROR: [qnn_compiler_plugin.cc:538]
LiteRT Op #1 'Conv2d' (code=3) is not supported in Qualcomm Compiler.
LiteRT Op #7 'Gather' (code=36) is not supported in Qualcomm Compiler.
INFO: [compiler_plugin.cc:742] Partitioned subgraph<0>, selected 36 ops, from a total of 38 ops. \
resulted in 3 partitions.
"""


@pytest.mark.parametrize("vendor", VENDORS.values(), ids=lambda vendor: vendor.name)
def test_the_chips_are_those_that_litert_knows(vendor: Any) -> None:
    target = importlib.import_module(f"ai_edge_litert.aot.vendors.{vendor.plugin}.target")
    assert set(vendor.chips) == {chip.value for chip in target.SocModel} - {"ALL"}
    assert vendor.manufacturer in {each.value for each in target.SocManufacturer}


def test_npus_are_found_by_name_in_any_case_and_once() -> None:
    found = find_npus(["qualcomm:SM8650", "Qualcomm:sm8650", "google:tensor_g5"])
    assert [npu.name for npu in found] == ["qualcomm:SM8650", "google:Tensor_G5"]
    assert found[0].file_part == "qualcomm-SM8650"


@pytest.mark.parametrize(
    ("name", "listed"),
    [("qualcomm:SM1", "SM8550, SM8650"), ("apple:A17", "qualcomm, mediatek"), ("SM8650", "qualc")],
)
def test_a_wrong_name_is_exit_code_2_and_lists_the_right_ones(name: str, listed: str) -> None:
    with pytest.raises(InputError, match=listed):
        find_npus([name])
    done = CliRunner().invoke(main, ["--demo", "--npu", name])
    assert done.exit_code == 2
    assert listed in done.stderr


def test_a_missing_compiler_is_exit_code_3_before_any_work(tmp_path: Path) -> None:
    asked = ["--demo", "--npu", "samsung:E9965", "-o", str(tmp_path)]
    done = CliRunner().invoke(main, asked)
    assert done.exit_code == 3
    [line] = done.stderr.strip().splitlines()
    assert line.startswith("bokeh-convert: samsung:E9965: ")
    assert "AI LiteCore" in line or "use Linux" in line
    assert not list(tmp_path.iterdir())


def test_every_vendor_is_listed_with_its_chips_and_how_to_get_its_compiler() -> None:
    done = CliRunner().invoke(main, ["--list-npus"])
    assert done.exit_code == 0
    for vendor in VENDORS.values():
        assert f"{vendor.title}: " in done.stdout
        assert f"{vendor.name}:{next(iter(vendor.chips))}" in done.stdout
    assert "pip install" in done.stdout or "use Linux" in done.stdout


def test_emulation_needs_an_npu_that_has_an_emulator(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no emulator of MediaTek's NPUs"):
        require_emulator(find_npus(["mediatek:MT6989"]))
    done = CliRunner().invoke(main, ["--demo", "--emulate", "-o", str(tmp_path)])
    assert (done.exit_code, "give --npu too" in done.stderr) == (2, True)


def test_the_reason_of_a_refusal_is_the_compilers_words_and_types() -> None:
    assert refusals(OUTPUT, ERRORS) == {
        1: "Unsupported datatypes for the HTP Op 'Conv2d' (float_32, sfixed_point_8 -> float_32)",
        7: "",
    }
    assert first_error("ERROR: [a.cc:1] ERROR: [b.cc:2]\nERROR: [c.cc:3] type 8\n") == "type 8"
    assert first_error("") == "no reason given"


def toolchain(folder: Path, script: str) -> Toolchain:
    """LiteRT's tool in the form of a script; `made` and `source` are its files."""
    tool = folder / "tool"
    tool.write_text(
        f"#!{sys.executable}\n"
        "import shutil, sys\n"
        "given = dict(word[2:].split('=', 1) for word in sys.argv[1:])\n"
        "made, source = given['o'], given['model']\n"
        f"{script}\n",
        encoding="utf-8",
    )
    tool.chmod(0o755)
    return Toolchain(tool, folder, (folder,), {"ai-edge-litert": "2.3.0"}, None)


def test_operators_that_are_left_in_the_file_count_whatever_the_log_says(
    data: Path, tmp_path: Path
) -> None:
    # The log takes all 43 operators, and the file still has all of them.
    log = (
        "Partitioned subgraph<0>, selected 43 ops, from a total of 43 ops. resulted in 1 partitions"
    )
    tools = toolchain(tmp_path, f"shutil.copy(source, made); print({log!r}, file=sys.stderr)")
    [npu] = find_npus(["qualcomm:SM8650"])
    build = compile_file((data / "small_float16.tflite").read_bytes(), npu, tools)
    assert not build.whole
    assert (build.taken, build.operators) == (0, 43)
    assert sum(each.count for each in build.refused) == 43
    assert all(each.reason == "" for each in build.refused)


def test_a_compiler_that_fails_gives_its_first_error(data: Path, tmp_path: Path) -> None:
    tools = toolchain(tmp_path, f"print({ERRORS!r} + 'ERROR: [x.cc:1] broken', file=sys.stderr)")
    tools.tool.write_text(tools.tool.read_text() + f"print({OUTPUT!r})\nsys.exit(5)\n")
    [npu] = find_npus(["qualcomm:SM8650"])
    build = compile_file((data / "small_int8.tflite").read_bytes(), npu, tools)
    assert (build.content, build.whole, build.taken) == (None, False, 0)
    assert build.failure == "broken"
    assert build.tools["Qualcomm libraries"] == "v2.51.0"
    assert RefusedOperators("CONV_2D", 1, refusals(OUTPUT, ERRORS)[1]) in build.refused


def test_mediatek_is_asked_in_lower_case_and_with_its_version(data: Path, tmp_path: Path) -> None:
    tools = toolchain(
        tmp_path, "sys.exit('ERROR: [a.cc:1] ' + ' '.join(sys.argv[4:6] + sys.argv[8:]))"
    )
    [npu] = find_npus(["mediatek:MT6993"])
    build = compile_file((data / "small_int8.tflite").read_bytes(), npu, tools)
    assert build.failure is not None
    assert "--soc_model=mt6993" in build.failure
    assert "--mediatek_sdk_version_type=version9" in build.failure


def test_a_part_that_is_not_in_the_file_is_refused(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = (data / "small_float16.tflite").read_bytes()
    assert compiled_parts(content) == []
    with pytest.raises(InputError, match="this one has 0"):
        Emulator(content)
    options = flexbuffers.Dumps({"bytecode_offset": 10**9, "bytecode_size": 8, "name": "part"})
    operator = SimpleNamespace(name="DISPATCH_OP", inputs=(0,), outputs=(1,))
    raw = SimpleNamespace(customOptions=np.frombuffer(bytes(options), np.uint8))
    module = "bokeh_convert.npu.compiled_file"
    monkeypatch.setattr(
        f"{module}.parse_tflite", lambda *_: SimpleNamespace(operators=[operator], tensors=[])
    )
    model = SimpleNamespace(subgraphs=[SimpleNamespace(operators=[raw])])
    monkeypatch.setattr(f"{module}.schema.ModelT.InitFromPackedBuf", lambda *_: model)
    with pytest.raises(InputError, match="'part' is not in the file"):
        compiled_parts(content)


@pytest.mark.parametrize(
    ("passed", "whole", "file", "failure", "allow_partial", "code"),
    [
        (True, True, "a", None, False, 0),
        (True, False, None, None, False, 3),
        (True, False, "a", None, True, 0),
        (True, False, None, None, True, 3),  # not even a part
        (True, True, "a", "is constant", False, 1),
        (False, False, None, None, False, 1),
    ],
)
def test_exit_codes(
    passed: bool, whole: bool, file: str | None, failure: str | None, allow_partial: bool, code: int
) -> None:
    made = {"whole": whole, "file": file, "emulation": {"failure": failure}}
    conversion: Any = SimpleNamespace(report=SimpleNamespace(passed=passed, npu=[made]))
    assert exit_code_for([conversion], allow_partial=allow_partial) == code


def test_the_reference_pack_says_what_computed_which_output(data: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(1).random((2, 4, 6, 3), np.float32)
    reference = Reference(["a", "b"], list((noise * 255).astype(np.uint8)), list(noise), "hash")
    path = tmp_path / "small.reference.npz"
    save_reference(path, reference, [EmulatedOutputs("int8_x-Y", "an emulator", [noise[0]])])
    assert [*load_reference(path).names] == ["a", "b"]
    with np.load(path) as arrays:
        assert str(arrays["computed_by"]) == (
            '{"outputs": "the full model", "emulated_int8_x-Y": "an emulator"}'
        )
        np.testing.assert_array_equal(arrays["emulated_int8_x-Y"], noise[:1])
    metadata = read_metadata(data / "small_float16.tflite")
    for name in ("small_float16", "small_float16.failed", "small_float16.qualcomm-SM8650"):
        assert find_reference_path(tmp_path / f"{name}.tflite", metadata) == path


def test_the_cache_folder_can_be_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOKEH_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("BOKEH_CACHE")
    assert "bokeh-tflite" in str(cache_folder())


def test_without_litert_there_is_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(HardwareError, match="no compiler plugin for Qualcomm"):
        find_toolchain(find_npus(["qualcomm:SM8650"])[0])
