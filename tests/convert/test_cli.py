from __future__ import annotations

import hashlib
import json
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from bokeh_convert.cli import main
from bokeh_convert.targets import targets
from helpers import commands


def command(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return commands.command("bokeh-convert", *arguments, cwd=cwd)


@pytest.mark.slow
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
    assert lines[4].split() == ["runs", "on", "float16", "int8"]
    assert [line.split()[0] for line in lines[5:11]] == [*targets()]
    assert lines[11].startswith("small_float16.tflite: float16 arithmetic on ARM CPUs allowed")
    assert lines[12].startswith("small_int8.tflite: 3 convolutions in int8, 0 in float; about 0.")
    assert lines[13].startswith("small_int8.tflite: float16 arithmetic on ARM CPUs allowed")
    assert lines[14].startswith("note: value range 0..1 is assumed")
    # The photos are tiny.
    grain = "note: grain: 4 of 4 images are not counted (fewer than 289 pixels in smooth areas)"
    assert lines[15] == grain
    assert len(lines) == 19, done.stderr
    assert (tmp_path / "small.comparison.png").is_file()


@pytest.mark.slow
def test_a_file_that_is_no_model_ends_in_one_line_and_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "letter.h5").write_text("Dear Keras")
    done = command("letter.h5", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.strip() == (
        "bokeh-convert: letter.h5: is neither HDF5 (.h5) nor .keras; give a model saved by Keras"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["letter.h5"]


@pytest.mark.slow
def test_ctrl_c_leaves_the_folder_as_it_was(
    small_keras: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bokeh_convert.stages import write

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(write, "save_comparison", interrupt)  # the last step before the renaming
    (tmp_path / "small_int8.tflite").write_text("good")
    done = CliRunner().invoke(main, [str(small_keras), "--size=32x64", "-qint8", f"-o{tmp_path}"])
    assert done.exit_code == 130
    assert "interrupted; no file was changed" in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["small_int8.tflite"]
    assert (tmp_path / "small_int8.tflite").read_text() == "good"


BIG = "--size=1024x1536"  # so that each step takes long enough to be seen


@pytest.mark.slow
@pytest.mark.parametrize("until", ["loading TensorFlow", "running", "verifying int8"])
def test_ctrl_c_at_any_time_is_one_line_and_leaves_the_folder(
    until: str, small_keras: Path, tmp_path: Path
) -> None:
    (tmp_path / "small_int8.tflite").write_text("good")
    asked = ("bokeh-convert", small_keras, BIG, "-qint8")
    with commands.on_a_terminal(*asked, cwd=tmp_path) as (process, read):
        read(until)
        process.send_signal(signal.SIGINT)
        shown = read(None)
    assert process.wait() == 130
    assert shown.splitlines()[-1].endswith("bokeh-convert: interrupted; no file was changed")
    assert "Traceback" not in shown
    assert [path.name for path in tmp_path.iterdir()] == ["small_int8.tflite"]
    assert (tmp_path / "small_int8.tflite").read_text() == "good"


@pytest.mark.slow
def test_a_ctrl_c_that_a_library_swallows_ends_the_run(small_keras: Path, tmp_path: Path) -> None:
    # As in TensorFlow's import, where the interrupt may be caught by a bare `except`.
    (tmp_path / "swallows.py").write_text(
        "import signal\n"
        "import keras\n"
        "try:\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "except BaseException:\n"
        "    pass\n"
        "class Layer(keras.layers.Layer):\n"
        "    pass\n"
    )
    out = tmp_path / "out"
    asked = (small_keras, "--size=32x64", "--custom-objects=swallows:Layer", "-o", out)
    with commands.on_a_terminal("bokeh-convert", *asked, cwd=tmp_path) as (process, read):
        shown = read(None)
    assert process.wait() == 130
    assert shown.splitlines()[-1].endswith("bokeh-convert: interrupted; no file was changed")
    assert list(out.iterdir()) == []


@pytest.mark.slow
def test_a_killed_run_leaves_good_files_and_the_next_one_tidies_up(
    small_keras: Path, tmp_path: Path
) -> None:
    (tmp_path / "small_int8.tflite").write_text("good")
    asked = ("bokeh-convert", small_keras, BIG, "-qint8")
    with commands.on_a_terminal(*asked, cwd=tmp_path) as (process, read):
        read("verifying int8")
        process.kill()
    assert process.wait() == -signal.SIGKILL
    assert (tmp_path / "small_int8.tflite").read_text() == "good"
    left = [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert left, "it was killed before it wrote anything"
    done = CliRunner().invoke(main, [str(small_keras), "--size=32x64", "-qint8", f"-o{tmp_path}"])
    assert done.exit_code == 0, done.output
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.slow
def test_a_full_disk_is_reported_and_nothing_changed(small_keras: Path, tmp_path: Path) -> None:
    (tmp_path / "small_float32.tflite").write_text("good")
    program = Path(sys.executable).parent / "bokeh-convert"
    done = subprocess.run(
        [program, small_keras, "--size=256x384", "-qfloat32"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        # Writing beyond this file size fails, as on a full disk.
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000)),
    )
    assert done.returncode == 2, done.stderr
    assert "writing failed (File too large); no file was changed" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["small_float32.tflite"]
    assert (tmp_path / "small_float32.tflite").read_text() == "good"


@pytest.mark.slow
def test_two_runs_at_once_leave_whole_files(small_keras: Path, tmp_path: Path) -> None:
    program = Path(sys.executable).parent / "bokeh-convert"
    runs = [
        subprocess.Popen(
            [program, small_keras, "--size=32x64", "-qint8,float16", f"--seed={seed}"],
            cwd=tmp_path,
            stderr=subprocess.PIPE,
        )
        for seed in (1, 2)
    ]
    for run in runs:
        _, errors = run.communicate()
        assert run.returncode == 0, errors
    for scheme in ("int8", "float16"):
        report = json.loads((tmp_path / f"small_{scheme}.report.json").read_text())
        for name, digest in (
            (report["file"], report["sha256"]),
            (report["reference"]["file"], report["reference"]["sha256"]),
        ):
            assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == digest
    assert len(list(tmp_path.iterdir())) == 6


@pytest.mark.slow
def test_names_with_spaces_and_other_letters(small_keras: Path, tmp_path: Path) -> None:
    source = tmp_path / "моя модель 1.keras"
    shutil.copy(small_keras, source)
    out = tmp_path / "für das Telefon"
    done = command(source, "--size=32x64", "-o", out, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (out / "моя модель 1_float16.tflite").is_file()
    assert "report: " + str(out / "моя модель 1_float16.report.json") in done.stderr


def test_a_read_only_folder_is_reported(small_keras: Path) -> None:
    # Not even root can create a file there.
    done = CliRunner().invoke(main, [str(small_keras), "--size=32x64", "-o/proc/self/fd"])
    assert done.exit_code == 2
    assert "/proc/self/fd: cannot be written to" in done.output


@pytest.mark.slow
def test_full_integer_takes_the_place_of_int8(small_keras: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        main,
        [str(small_keras), "--size=32x64", "-qint8,float16", "--full-integer", f"-o{tmp_path}"],
    )
    assert done.exit_code == 0, done.output
    made = sorted(path.name for path in tmp_path.glob("*.tflite"))
    assert made == ["small_float16.tflite", "small_full-integer.tflite"]


@pytest.mark.slow
def test_under_the_asked_psnr_the_exit_code_is_1(small_keras: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        main, [str(small_keras), "--size=32x64", "-qint8", "--min-psnr=200", f"-o{tmp_path}"]
    )
    assert done.exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        ([], "either MODEL or --demo"),
        (["model.h5", "--demo"], "either MODEL or --demo"),
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


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        (
            "ModuleNotFoundError('none', name='keras')",
            "keras is not installed; pip install 'bokeh-tflite[convert]'",
        ),
        (
            "OSError(28, 'No space left on device', 'weights.tmp')",
            "weights.tmp: No space left on device; make room there and in the folder of temporary "
            "files (TMPDIR)",
        ),
    ],
)
def test_what_this_machine_lacks_is_one_line(fault: str, line: str, tmp_path: Path) -> None:
    (tmp_path / "keras.py").write_text(f"raise {fault}")
    done = commands.command("bokeh-convert", "--demo", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stderr) == (2, f"bokeh-convert: {line}\n")
