"""Which targets run a file, and what `--target` chooses for them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from bokeh_convert import Conversion, convert
from bokeh_convert.cli import main
from bokeh_convert.graph.editor import Graph
from bokeh_convert.graph.op_inventory import OperatorSummary
from bokeh_convert.graph.schema_views import OP_NAMES, Op
from bokeh_convert.graph.target_support import TargetSupport, target_support
from bokeh_convert.graph.to_tflite import lower
from bokeh_convert.passes import OPTIONAL_PASS_NAMES
from bokeh_convert.passes.space_to_depth import write_space_to_depth_as_convolution
from bokeh_convert.quantize.engine import quantize_convolutions
from bokeh_convert.quantize.schemes import SCHEMES
from bokeh_convert.sources import read_model
from bokeh_convert.targets import Rule, Target, best_schemes, find_targets, targets
from bokeh_runtime import InputError
from helpers.commands import command
from helpers.quantization import quantized

NUMBERS = {"float32", "float16", "dynamic-range", "int8", "uint8", "int16", "other"}


@pytest.mark.parametrize("name", targets())
def test_a_target_names_what_there_is_and_its_sources(name: str) -> None:
    target = targets()[name]
    assert target.name == name
    assert target.summary
    assert set(target.schemes) <= SCHEMES.keys()
    assert len(set(target.schemes)) == len(target.schemes) > 0
    assert set(target.passes) <= set(OPTIONAL_PASS_NAMES)
    for rule in target.rules:
        assert rule.source
        assert {*(rule.operators or ()), *rule.other_than} <= set(OP_NAMES.values())
        assert set(rule.numbers or ()) <= NUMBERS
        assert rule.why or rule.verdict == "takes"


def test_these_targets_are_there_and_prefer_these_schemes() -> None:
    assert {name: target.schemes[0] for name, target in targets().items()} == {
        "gpu": "float16",
        "litert-cpu": "int8",
        "nnapi": "int8",
        "openvino": "float16",
        "qualcomm": "int8",
        "tflite-2.16-cpu": "int8",
    }


def test_one_file_for_several_targets() -> None:
    def best(*names: str) -> list[str]:
        return best_schemes(find_targets(names))

    assert best() == []
    assert best("gpu", "openvino") == ["float16"]
    assert best("tflite-2.16-cpu", "qualcomm", "nnapi") == ["int8"]
    # Both are as good together: the first target's wish counts.
    assert best("gpu", "qualcomm") == ["float16"]
    assert best("qualcomm", "gpu") == ["int8"]
    assert best(*targets()) == ["int8"]


def test_targets_without_a_common_scheme_get_a_file_each() -> None:
    one, other = (Target(name, "", (name,), ()) for name in ("float32", "int8"))
    assert best_schemes([one, other, one]) == ["float32", "int8"]


def test_an_unknown_target_is_named_with_those_that_there_are() -> None:
    with pytest.raises(InputError, match="targets='toaster' is unknown; choose from gpu, litert"):
        find_targets(["gpu", "toaster"])
    assert [target.name for target in find_targets(["nnapi", "gpu", "nnapi"])] == ["nnapi", "gpu"]


def operator(name: str, numbers: str = "float32", rank: int = 4) -> OperatorSummary:
    return OperatorSummary(name, (numbers, numbers), (), rank)


@pytest.mark.parametrize(
    ("types", "constants", "name", "numbers"),
    [
        (("float32", "float32"), ("float32",), "CONV_2D", "float32"),
        (("float32",), ("float16",), "DEQUANTIZE", "float16"),
        (("float32", "float32"), ("int8", "float32"), "CONV_2D", "dynamic-range"),
        (("int8", "int8"), ("int8", "int32"), "CONV_2D", "int8"),
        (("float32",), ("int8",), "DEQUANTIZE", "int8"),
        (("float32", "int8"), (), "QUANTIZE", "int8"),
        (("uint8", "int8"), (), "QUANTIZE", "int8"),
        (("uint8", "float32"), (), "DEQUANTIZE", "uint8"),
        (("int16", "int16"), ("int8", "int64"), "CONV_2D", "int16"),
        (("float32", "int16"), (), "QUANTIZE", "int16"),
        (("int32", "int32"), (), "ADD", "other"),
    ],
)
def test_what_an_operator_computes_with(
    types: tuple[str, ...], constants: tuple[str, ...], name: str, numbers: str
) -> None:
    assert OperatorSummary(name, types, constants, 4).numbers == numbers


def test_the_first_rule_about_an_operator_counts() -> None:
    target = Target(
        "toy",
        "",
        ("int8",),
        (
            Rule("refuses", "large", "a test", min_rank=5),
            Rule("fails", "a list", "a test", {"SPLIT"}, list_for_scalar=True),
            Rule("slow", "", "a test", {"ADD"}, numbers={"int16"}),
            Rule("refuses", "not listed", "a test", other_than={"ADD", "SPLIT", "TANH"}),
            Rule("takes", "", "a test", {"ADD", "SPLIT", "MUL"}),
        ),
    )

    def verdict(asked: OperatorSummary) -> str:
        return target.rule_for(asked).verdict

    assert verdict(operator("ADD")) == "takes"
    assert verdict(operator("ADD", rank=5)) == "refuses"
    assert verdict(operator("ADD", "int16")) == "slow"
    assert verdict(operator("SPLIT")) == "takes"
    assert verdict(replace(operator("SPLIT"), list_for_scalar=True)) == "fails"
    assert verdict(replace(operator("ADD"), list_for_scalar=True)) == "takes"
    assert verdict(operator("MUL")) == "refuses"
    assert verdict(operator("TANH")) == "unknown"


# ---- files of a small network ----


@pytest.fixture(scope="module")
def float32(small_keras: Path) -> bytes:
    return lower(read_model(small_keras).at(32, 64))


@pytest.fixture(scope="module")
def files(float32: bytes) -> dict[str, bytes]:
    photo = np.random.default_rng(3).random((32, 64, 3), dtype=np.float32)
    made = {
        name: quantized(float32, name, [photo]) for name in ("float16", "int16x8", "full-integer")
    }
    return {"float32": float32, "dynamic": quantize_convolutions(float32, ()), **made}


def support(content: bytes, name: str) -> TargetSupport:
    (found,) = target_support(content, find_targets([name]))
    return found


@pytest.mark.parametrize(
    ("target", "whole", "slow"),
    [
        ("litert-cpu", "float32 float16 dynamic full-integer int16x8", "int16x8"),
        ("tflite-2.16-cpu", "float32 float16 dynamic full-integer int16x8", "dynamic int16x8"),
        ("gpu", "float32 float16 dynamic full-integer", ""),
        ("nnapi", "", ""),
        ("qualcomm", "float32 float16 full-integer int16x8", ""),
        ("openvino", "", ""),
    ],
)
def test_which_files_a_target_runs_whole(
    target: str, whole: str, slow: str, files: dict[str, bytes]
) -> None:
    rows = {name: support(content, target) for name, content in files.items()}
    assert {name for name, row in rows.items() if row.runs == "whole"} == set(whole.split())
    assert {name for name, row in rows.items() if row.slow} == set(slow.split())
    for row in rows.values():
        assert (row.taken == row.operators) == (row.runs == "whole")
        assert (row.why is None) == (row.runs == "whole" and not row.slow)


def test_a_convolution_with_int8_weights_in_float_cuts_a_file_for_qualcomm(
    files: dict[str, bytes],
) -> None:
    row = support(files["dynamic"], "qualcomm")
    assert (row.runs, row.operators - row.taken, row.parts) == ("part", 2, 2)
    assert row.why == "2 CONV_2D: float activations with int8 weights"
    (remark,) = row.remarks
    assert (remark.verdict, remark.numbers, remark.count) == ("refuses", "dynamic-range", 2)
    assert "SM8650" in remark.source


def test_openvino_takes_one_part_and_wants_no_space_to_depth(files: dict[str, bytes]) -> None:
    first = support(files["float16"], "openvino")
    assert (first.runs, first.operators - first.taken, first.parts) == ("part", 1, 1)
    assert first.why == "1 SPACE_TO_DEPTH: not an operator of LiteRT's plugin"
    # Here it follows a QUANTIZE, so two parts are left.
    row = support(files["full-integer"], "openvino")
    assert (row.runs, row.operators - row.taken, row.parts) == ("none", 1, 2)
    assert row.why is not None
    assert row.why.endswith("that leaves 2 parts, and it takes one part only")


def test_openvino_takes_the_file_whole_after_the_rewrite(float32: bytes) -> None:
    graph = Graph(float32)
    write_space_to_depth_as_convolution(graph)
    assert support(graph.to_bytes(), "openvino").runs == "whole"


def test_a_list_as_the_axis_of_split_fails_on_openvino_alone(float32: bytes) -> None:
    graph = Graph(float32)
    axis = graph.axes_constant(3)
    source = graph.operators[0].outputs[0]
    parts = [graph.add_tensor(f"part_{i}", 0, [1, 16, 32, 6]) for i in range(2)]
    split = graph.new_operator(Op.SPLIT, [axis, source], parts)
    graph.operators = [*graph.operators, split]
    rows = {row.target: row for row in target_support(graph.to_bytes(), targets().values())}
    assert rows["openvino"].runs == "none"
    assert rows["openvino"].why == "1 SPLIT: its axis is a list, and OpenVINO wants a scalar"
    assert rows["litert-cpu"].runs == rows["gpu"].runs == rows["qualcomm"].runs == "whole"


def test_nnapi_levels_are_remarks(files: dict[str, bytes]) -> None:
    row = support(files["full-integer"], "nnapi")
    assert row.runs == "part"
    whys = {remark.operator: remark.why for remark in row.remarks}
    assert whys["CONV_2D"] == "from Android API level 29 to 34"
    assert whys["SQUARED_DIFFERENCE"] == "not an operator of NNAPI"
    assert whys["RSQRT"] == "not on 8 bits"
    assert support(files["int16x8"], "nnapi").taken < row.taken


def test_gpus_compute_eight_bits_in_float(files: dict[str, bytes]) -> None:
    (remark,) = {(one.numbers, one.why) for one in support(files["dynamic"], "gpu").remarks}
    assert remark == ("dynamic-range", "computed in float")
    assert {one.numbers for one in support(files["full-integer"], "gpu").remarks} == {"int8"}
    assert support(files["float16"], "gpu").remarks == ()


def made_for(float32: bytes, *rules: Rule, **options: object) -> TargetSupport:
    target = Target("toy", "", ("int8",), rules, **options)  # type: ignore[arg-type]
    (found,) = target_support(float32, [target])
    return found


REFUSES = Rule("refuses", "not here", "a test", {"CONV_2D"})
TAKES = Rule("takes", "", "a test")


@pytest.mark.parametrize(("splits", "runs"), [("any", "part"), ("one", "none"), ("none", "none")])
def test_a_cut_file_runs_where_parts_are_taken(splits: str, runs: str, float32: bytes) -> None:
    assert made_for(float32, REFUSES, TAKES, splits=splits).runs == runs
    assert made_for(float32, TAKES, splits=splits).runs == "whole"


def test_a_target_for_whole_files_says_so(float32: bytes) -> None:
    only_first = Rule("refuses", "not here", "a test", {"SPACE_TO_DEPTH"})
    one_part = made_for(float32, only_first, TAKES, splits="none")
    assert (one_part.runs, one_part.parts) == ("none", 1)
    assert one_part.why is not None
    assert one_part.why.endswith("that leaves 1 part, and it takes whole files only")
    assert made_for(float32, only_first, TAKES, splits="one").runs == "part"


def test_what_nobody_tried_is_unknown_unless_the_file_fails_anyway(float32: bytes) -> None:
    fails = Rule("fails", "crashes", "a test", {"CONV_2D"})
    convolutions = Rule("takes", "", "a test", {"CONV_2D"})
    assert made_for(float32).runs == "unknown"
    assert made_for(float32, convolutions).runs == "unknown"
    assert "TRANSPOSE_CONV: nobody tried it" in str(made_for(float32, convolutions).why)
    assert made_for(float32, fails).runs == "none"
    assert made_for(float32, fails).why == "2 CONV_2D: crashes"
    assert made_for(float32, Rule("refuses", "never", "a test")).runs == "none"


def test_what_reads_constants_alone_cuts_nothing(files: dict[str, bytes]) -> None:
    refuses = Rule("refuses", "not here", "a test", {"DEQUANTIZE"})
    row = made_for(files["float16"], refuses, TAKES)
    assert row.operators - row.taken == 3  # the weights of three convolutions
    assert (row.runs, row.parts) == ("part", 1)
    assert made_for(files["int16x8"], refuses, TAKES).parts > 1


# ---- the option ----


def schemes_and_passes(made: Sequence[Conversion]) -> list[tuple[str, bool]]:
    return [
        (one.report.scheme, any(each["name"] == "space-to-depth" for each in one.report.passes))
        for one in made
    ]


@pytest.mark.slow
def test_targets_choose_the_scheme_and_the_rewrites(small_keras: Path, tmp_path: Path) -> None:
    def run(**options: object) -> list[Conversion]:
        return convert(small_keras, size=(32, 64), output_dir=tmp_path, **options)

    made = run(targets=["openvino"])
    assert schemes_and_passes(made) == [("float16", True)]
    (row,) = made[0].report.targets
    assert (row["target"], row["runs"], row["parts"]) == ("openvino", "whole", 1)
    # The scheme that was asked for wins; the rewrites still are the target's.
    made = run(targets=["gpu", "openvino"], quant=["full-integer"])
    assert schemes_and_passes(made) == [("full-integer", True)]
    assert [row["runs"] for row in made[0].report.targets] == ["whole", "whole"]
    made = run(targets=["openvino"], skip_passes=["space-to-depth"])
    assert schemes_and_passes(made) == [("float16", False)]
    assert made[0].report.targets[0]["runs"] == "part"
    made = run(targets=["gpu"])
    assert schemes_and_passes(made) == [("float16", False)]


@pytest.mark.slow
def test_the_command_shows_what_runs_where(small_keras: Path, tmp_path: Path) -> None:
    def shown(*options: str) -> list[str]:
        done = command("bokeh-convert", small_keras, "--size=32x64", *options, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stderr.splitlines()

    lines = shown("--quant=float16,full-integer,int16x8")
    table = [line.split() for line in lines]
    assert ["runs", "on", "float16", "full-integer", "int16x8"] in table
    assert ["litert-cpu", "whole", "whole", "whole,", "slow"] in table
    assert ["qualcomm", "whole", "whole", "whole"] in table
    (openvino,) = [words for words in table if words[0] == "openvino"]
    assert openvino[1:6] == ["21/22", "in", "1", "part", "no"]
    assert not any("qualcomm: " in line for line in lines)
    # With targets, only those, and the reasons too.
    lines = shown("--target=qualcomm,nnapi", "--quant=dynamic")
    assert not any(line.startswith("gpu ") for line in lines)
    (reason,) = [line for line in lines if "qualcomm: " in line]
    assert reason.startswith("small_dynamic.tflite: qualcomm: ")
    assert reason.endswith(" parts (2 CONV_2D: float activations with int8 weights)")


def test_a_wrong_target_is_refused_before_anything_large_is_loaded(small_keras: Path) -> None:
    done = CliRunner().invoke(main, [str(small_keras), "--target=gpu,toaster"])
    assert done.exit_code == 2
    assert "'toaster' is not one of gpu, litert-cpu, nnapi, openvino, qualcomm" in done.output


def test_the_page_lists_the_targets_and_their_best_schemes() -> None:
    page = (Path(__file__).parents[2] / "docs/conversion.md").read_text(encoding="utf-8")
    section = page.split("## Targets")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \|", section, re.MULTILINE)
    assert dict(rows) == {name: target.schemes[0] for name, target in targets().items()}
