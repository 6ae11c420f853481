"""`bokeh-bench study`, also outside of a checkout, and `python -m bokeh_bench`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from bokeh_bench.cli import main
from bokeh_bench.error_text import OPTIONS, error_text
from bokeh_bench.studies.cli import study
from bokeh_runtime.errors import Argument, InputError
from helpers import commands

STUDIES = {
    "conversion",
    "crop",
    "arm64",
    "arm64-costs",
    "render",
    "detail-fusion",
    "gpu",
    "agreement",
    "input-noise",
    "npu",
    "students",
    "web",
}
QUICK = ("-dcpu", "--runs=5", "--seconds=0", "--no-operators")


def study_result(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["study", *words], prog_name="bokeh-bench")
    return done.exit_code, done.output


def test_the_word_study_lists_the_studies() -> None:
    code, shown = study_result("--help")
    assert code == 0
    assert shown.startswith("Usage: bokeh-bench study [OPTIONS] COMMAND")
    assert set(study.commands) == STUDIES
    assert all(f"\n  {name} " in shown for name in STUDIES)


@pytest.mark.parametrize("name", sorted(STUDIES))
def test_every_study_explains_itself_and_its_options(name: str) -> None:
    code, shown = study_result(name, "--help")
    assert code == 0
    assert shown.startswith(f"Usage: bokeh-bench study {name} [OPTIONS]")
    options = [one for one in study.commands[name].params if isinstance(one, click.Option)]
    assert all(option.help for option in options)


def test_without_the_word_it_measures() -> None:
    shown = CliRunner().invoke(main, ["--help"], prog_name="bokeh-bench").output
    assert shown.startswith("Usage: bokeh-bench [OPTIONS] [MODEL]...")
    assert "`bokeh-bench study`" in shown
    refused = CliRunner().invoke(main, ["--pair", "study", "conversion", "-dcpu,gpu"])
    assert refused.exit_code == 2
    assert "--pair takes two models" in refused.output


@pytest.mark.slow
def test_a_model_called_study_is_measured_by_its_path(data: Path, tmp_path: Path) -> None:
    shutil.copy(data / "small_float32.tflite", tmp_path / "study")
    done = commands.command("bokeh-bench", "./study", *QUICK, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads((tmp_path / "bench" / "report.json").read_text())["rows"]
    assert row["model"]["name"] == "study"


@pytest.mark.slow
def test_the_module_is_the_same_program(tmp_path: Path) -> None:
    def run(*command: object) -> tuple[int, str]:
        words = [str(word) for word in (*command, "none.tflite", "--targets", "x")]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr

    refused = (2, "bokeh-bench: --targets needs --dataset with the sharp photos\n")
    assert run(sys.executable, "-m", "bokeh_bench") == refused
    assert run(Path(sys.executable).with_name("bokeh-bench")) == refused


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("render",), 2, "benchmarks/photos: no such folder; run in a checkout of bokeh-tflite"),
        (("conversion", "--arm64"), 3, "build/arm64: no ARM environment"),
        (("arm64-costs",), 3, "build/arm64: no ARM environment"),
        (("detail-fusion", "pairs"), 2, "pairs: holds no NAME_sharp.jpg"),
        (("gpu", "none.h5"), 2, "none.h5: no such file"),
        (("agreement", "none.tflite"), 2, "none.tflite: "),
        (("students", "run"), 2, "run/report.json: is no report of a training"),
    ],
)
def test_outside_of_a_checkout_a_line_says_what_is_needed(
    words: tuple[str, ...],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    found, shown = study_result(*words)
    assert (found, shown.count("\n")) == (code, 1), shown
    assert shown.startswith(f"bokeh-bench: {message}")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("conversion", "model.h5", "--untrained=0.25"),
            "model.h5: not converted with --untrained; give one of the two",
        ),
        (
            ("conversion", "--interpreter-python=python", "--runs=0"),
            "--interpreter-python needs timed runs; omit it, or --runs 0",
        ),
        (
            ("npu", "--npu=qualcomm:SM8650", "--emulate=qualcomm:SM8550"),
            "--emulate qualcomm:SM8550: is not compiled for; add --npu qualcomm:SM8550",
        ),
        (("npu", "--emulate=qualcomm:SM8550", "--photos=0"), "--emulate needs photos; omit it, or"),
    ],
)
def test_options_without_effect_are_refused(
    words: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, shown = study_result(*words)
    assert (code, shown.count("\n")) == (2, 1), shown
    assert shown.startswith(f"bokeh-bench: {message}")


def test_the_agreement_for_a_file_that_takes_integers_is_refused(data: Path) -> None:
    model = data / "small_full-integer.tflite"
    code, shown = study_result("agreement", str(model))
    assert code == 2
    assert shown == (
        f"bokeh-bench: {model}: takes integers; give a file that takes floats, such as of "
        "--quant int8\n"
    )


@pytest.mark.parametrize("width", ["5", "0", "-1"])
def test_a_width_that_no_network_has_is_refused(width: str) -> None:
    code, shown = study_result("conversion", "--untrained", width)
    assert code == 2
    assert f"{float(width)} is not in the range 0<x<=4" in shown


def test_a_report_of_a_student_that_lacks_what_the_table_shows_is_refused(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    for text in ("[]", "{}", '{"schema": "bokeh-tflite/distillation/1"}'):
        report.write_text(text)
        code, shown = study_result("students", str(tmp_path))
        assert code == 2
        assert shown.startswith(f"bokeh-bench: {report}: is no report of this version; repeat")


def test_errors_of_rows_name_options_that_the_command_has() -> None:
    options = {option for parameter in main.params for option in parameter.opts}
    assert set(OPTIONS.values()) <= options
    error = InputError("no", remedy=("use ", Argument("delegate", "cpu")))
    assert error_text(error) == "no; use --delegate cpu"
