from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from bokeh_convert.cli import main


def command(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs the command as a user would, in a process of its own."""
    program = Path(sys.executable).parent / "bokeh-convert"
    return subprocess.run(
        [program, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "120"},
    )


def test_json_alone_on_stdout_and_no_noise_on_stderr(small_keras: Path, tmp_path: Path) -> None:
    done = command(small_keras, "--size", "32x64", "-q", "float16,int8", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    schemes = [report["scheme"] for report in json.loads(done.stdout)["conversions"]]
    assert schemes == ["float16", "int8"]
    lines = done.stderr.strip().splitlines()
    assert lines[0].split()[:2] == ["file", "size"]
    assert lines[1].startswith("small_float16.tflite")
    assert lines[2].startswith("small_int8.tflite")
    assert lines[-1].startswith("side by side: ")
    assert lines[-2] == "report: small_int8.report.json"
    assert len(lines) == 7, done.stderr
    assert (tmp_path / "small.comparison.png").is_file()


def test_a_file_that_is_no_model_ends_in_one_line_and_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "letter.h5").write_text("Dear Keras")
    done = command("letter.h5", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.strip() == (
        "bokeh-convert: letter.h5: neither HDF5 (.h5) nor .keras; give a whole model saved by Keras"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["letter.h5"]


def test_ctrl_c_leaves_the_folder_as_it_was(
    small_keras: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bokeh_convert import run

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "save_comparison", interrupt)  # the last step before the renaming
    (tmp_path / "small_int8.tflite").write_text("good")
    done = CliRunner().invoke(main, [str(small_keras), "--size=32x64", "-qint8", f"-o{tmp_path}"])
    assert done.exit_code == 130
    assert "interrupted; no file was changed" in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["small_int8.tflite"]
    assert (tmp_path / "small_int8.tflite").read_text() == "good"


def test_under_the_asked_psnr_the_exit_code_is_1(small_keras: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        main, [str(small_keras), "--size=32x64", "-qint8", "--min-psnr=200", f"-o{tmp_path}"]
    )
    assert done.exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        ([], "either a MODEL or --demo"),
        (["model.h5", "--demo"], "either a MODEL or --demo"),
        (["model.h5", "--quant", "int5"], "'int5' is not one of"),
        (["model.h5", "--size", "256"], "not HEIGHTxWIDTH"),
    ],
)
def test_wrong_words_are_refused(arguments: list[str], cause: str) -> None:
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 2
    assert cause in done.output


def test_help_names_every_scheme() -> None:
    text = CliRunner().invoke(main, ["--help"]).output
    for scheme in ("float32", "float16", "dynamic", "int8"):
        assert scheme in text
