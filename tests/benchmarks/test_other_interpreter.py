"""The interpreter of another TensorFlow. Here it is that of this environment, the newest."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from bokeh_bench.cli import main
from bokeh_bench.studies import conversion
from bokeh_bench.studies.other_interpreter import interpreter_name, latency_ratios
from bokeh_runtime.errors import HardwareError, InputError

PYTHON = Path(sys.executable)


def program(folder: Path, *lines: str) -> Path:
    path = folder / "python"
    path.write_text("\n".join(("#!/bin/sh", *lines, "")))
    path.chmod(0o755)
    return path


@pytest.fixture
def newer(data: Path, tmp_path: Path) -> Path:
    """A file with an operator that the schema knows and no interpreter has."""
    content = (data / "fourier.tflite").read_bytes()
    rfft2d, cube_root = (number.to_bytes(4, "little") for number in (131, 208))
    path = tmp_path / "newer.tflite"
    path.write_bytes(content.replace(rfft2d, cube_root))
    return path


@pytest.mark.slow
def test_latency_is_relative_to_the_baseline_and_what_does_not_run_is_left_out(
    data: Path, newer: Path
) -> None:
    names = ("small_float32", "small_full-integer")  # with inputs of floats and of bytes
    files = {**{name: data / f"{name}.tflite" for name in names}, "newer": newer}
    ratios = latency_ratios(PYTHON, files, names[0], runs=3, threads=1)
    assert ratios.keys() == set(names)
    assert ratios[names[0]] == 1
    assert ratios[names[1]] > 0
    with pytest.raises(InputError, match=r"newer\.tflite: does not run in TensorFlow Lite 2\."):
        latency_ratios(PYTHON, files, "newer", runs=3, threads=1)


def test_its_name_has_the_version(tmp_path: Path) -> None:
    python = program(tmp_path, """echo '{"version": "2.16.1"}'""")
    assert interpreter_name(python) == "TensorFlow Lite 2.16.1"


def test_an_environment_without_tensorflow_is_refused(tmp_path: Path) -> None:
    message = "ModuleNotFoundError: No module named 'tensorflow'"
    python = program(tmp_path, f'echo "{message}" >&2', "exit 1")
    with pytest.raises(HardwareError, match=rf"cannot run .tflite files \({message}\); give the"):
        interpreter_name(python)


def test_a_python_that_is_missing_is_told_before_the_conversions(tmp_path: Path) -> None:
    words = ("study", "conversion", "--interpreter-python", str(tmp_path / "python"))
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 3
    assert done.output == (
        f"bokeh-bench: {tmp_path / 'python'}: cannot be started (No such file or directory); "
        "give the Python of an environment with TensorFlow\n"
    )


def test_the_table_has_its_column_only_if_it_was_measured() -> None:
    row = conversion.Row("a float32", 10**6, 1, 2, 10**9, 40, 40, 40, 0.99, 1.0, {})
    assert "TensorFlow Lite" not in conversion.table([row])
    other = "TensorFlow Lite 2.16.1"
    rows = [
        replace(row, other_interpreter=other, other_latency_ratio=1.0),
        replace(row, other_interpreter=other, other_latency_ratio=None),
    ]
    heading, _, first, second = conversion.table(rows).splitlines()
    column = heading.split(" | ").index("in TensorFlow Lite 2.16.1")
    assert heading.split(" | ")[column - 1] == "latency ratio"
    assert first.split(" | ")[column] == "1.00"
    assert second.split(" | ")[column] == "does not run"
