from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner

from bokeh_bench.cli import main as bench
from bokeh_convert import convert
from bokeh_convert.cli import main
from bokeh_convert.sources import read_model
from bokeh_runtime.errors import InputError
from bokeh_runtime.metrics.psnr import psnr
from bokeh_runtime.tflite.metadata import read_metadata
from bokeh_runtime.tflite.reference_pack import find_reference_path, load_reference

SIZE = (64, 96)


@pytest.fixture(scope="module")
def student(small_keras: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model with other weights."""
    model = keras.saving.load_model(small_keras)
    model.set_weights([weight * 0.97 for weight in model.get_weights()])
    path = tmp_path_factory.mktemp("student") / "student.keras"
    model.save(path)
    return path


def test_a_student_is_compared_with_its_teacher(
    student: Path, small_keras: Path, tmp_path: Path
) -> None:
    (alone,) = convert(student, quant=["float16"], size=SIZE, output_dir=tmp_path / "alone")
    (found,) = convert(
        student, quant=["float16"], size=SIZE, teacher=small_keras, output_dir=tmp_path
    )
    report = found.report
    assert report.teacher is not None
    assert (report.teacher["file"], report.source["file"]) == ("small.keras", "student.keras")
    assert report.own_fidelity == alone.report.fidelity
    # What float16 arithmetic costs does not depend on the teacher.
    assert report.fp16_arithmetic == alone.report.fp16_arithmetic
    assert report.fp16_arithmetic["allowed"]
    assert (alone.report.teacher, alone.report.own_fidelity) == (None, None)
    reference = load_reference(found.reference_path)
    height, width = reference.inputs[0].shape[:2]
    teacher, own = (read_model(path).at(height, width) for path in (small_keras, student))
    expected = []
    for pixels, output in zip(reference.inputs, reference.outputs, strict=True):
        image = (pixels / 255).astype("float32")
        assert psnr(output, teacher.run(image).clip(0, 1), border_px=0) > 60
        expected.append(psnr(own.run(image).clip(0, 1), output, border_px=0))
    assert report.fidelity is not None
    mean = sum(expected) / len(expected)
    assert report.fidelity["psnr_db_mean"] == pytest.approx(mean, abs=0.2)
    assert report.fidelity["psnr_db_mean"] < report.own_fidelity["psnr_db_mean"] - 10


def test_a_student_is_benchmarked_with_the_photos_of_its_teacher(
    student: Path, small_keras: Path, tmp_path: Path
) -> None:
    (own,) = convert(small_keras, quant=["float16"], size=SIZE, output_dir=tmp_path)
    (made,) = convert(
        student, quant=["float16"], size=SIZE, teacher=small_keras, output_dir=tmp_path / "made"
    )
    file = tmp_path / made.path.name
    file.write_bytes(made.path.read_bytes())
    (tmp_path / "another.reference.npz").write_bytes(b"of no model")
    metadata = read_metadata(file)
    assert metadata.full_models == {made.report.source["sha256"], own.report.source["sha256"]}
    assert find_reference_path(file, metadata) == own.reference_path
    result = CliRunner().invoke(
        bench, [str(file), "--runs", "5", "-o", str(tmp_path / "bench"), "--no-operators"]
    )
    assert result.exit_code == 0, result.stderr
    row, *_ = json.loads((tmp_path / "bench/report.json").read_text(encoding="utf-8"))["rows"]
    assert made.report.fidelity is not None
    mean = made.report.fidelity["psnr_db_mean"]
    assert row["fidelity"][0]["psnr_db_mean"] == pytest.approx(mean, abs=0.1)
    assert "different trained model" not in result.stdout + result.stderr
    # A model without that teacher does not take another's photos.
    (alone,) = convert(student, quant=["float16"], size=SIZE, output_dir=tmp_path / "alone")
    file.write_bytes(alone.path.read_bytes())
    assert find_reference_path(file, read_metadata(file)) is None


def test_the_command_shows_both_distances(
    student: Path, small_keras: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = [
        "--size",
        "64x96",
        "--quant",
        "float16",
        "--teacher",
        str(small_keras),
        "--output-dir",
        str(tmp_path),
    ]
    result = CliRunner().invoke(main, [str(student), *options])
    assert result.exit_code == 0, result.output
    shown = capfd.readouterr().err
    assert "against the teacher small.keras" in shown
    assert "for the worst photo against student.keras" in shown
    # A limit is one on the distance from the teacher.
    result = CliRunner().invoke(main, [str(student), *options, "--min-psnr", "55"])
    assert result.exit_code == 1


def test_teacher_and_student_get_the_same_pixels(
    student: Path, small_keras: Path, tmp_path: Path
) -> None:
    (alone,) = convert(
        student, quant=["float32"], size=SIZE, resampling="bicubic", output_dir=tmp_path / "alone"
    )
    (found,) = convert(
        student,
        quant=["float32"],
        size=SIZE,
        resampling="bicubic",
        teacher=small_keras,
        output_dir=tmp_path,
    )
    expected, pixels = (load_reference(one.reference_path).inputs for one in (alone, found))
    for mine, other in zip(pixels, expected, strict=True):
        np.testing.assert_array_equal(mine, other)
    assert found.report.own_fidelity == alone.report.fidelity


def pale_copy(
    path: Path, activation: str | None, *, gain: float = 0.3, offset: float = 0.3
) -> Path:
    """A network that draws a picture, by default whether it is fed 0..1 or -1..1."""
    photo = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(3, 1, name="pale", activation=activation)(photo)
    model = keras.Model(photo, x)
    kernel, bias = np.eye(3)[None, None] * gain, np.full(3, offset)
    model.get_layer("pale").set_weights([kernel, bias])
    model.save(path)
    return path


def test_notes_tell_the_value_ranges_of_the_teacher(tmp_path: Path) -> None:
    student = pale_copy(tmp_path / "student.keras", None)
    teachers = {kind: pale_copy(tmp_path / f"{kind}.keras", kind) for kind in ("sigmoid", "linear")}

    def notes(kind: str, **given: str) -> list[str]:
        (made,) = convert(
            student,
            quant=["float32"],
            size=(32, 32),
            teacher=teachers[kind],
            output_dir=tmp_path,
            **given,
        )
        begin = f"teacher {kind}.keras: "
        return [note.removeprefix(begin) for note in made.report.notes if note.startswith(begin)]

    (assumed,) = notes("linear")
    assert assumed.startswith("value range 0..1 is assumed")
    ranges = {"input_range": "-1..1", "output_range": "-1..1"}
    taken = [f"{side} range -1..1, as given" for side in ("input", "output")]
    assert notes("linear", **ranges)[:2] == taken
    # What the teacher shows by itself counts more.
    given, shown, *fault = notes("sigmoid", **ranges)
    assert given == taken[0]
    assert shown.startswith("output range 0..1, because")
    assert not fault


def test_given_ranges_apply_to_a_teacher_whose_own_are_not_clear(tmp_path: Path) -> None:
    student = pale_copy(tmp_path / "student.keras", None)
    teacher = pale_copy(tmp_path / "bright.keras", "sigmoid", gain=3, offset=0)
    options = {"quant": ["float32"], "size": (32, 32), "teacher": teacher, "output_dir": tmp_path}
    with pytest.raises(InputError, match=r"bright\.keras: its value range is not clear"):
        convert(student, **options)
    (made,) = convert(student, input_range="-1..1", **options)
    assert "teacher bright.keras: input range -1..1, as given" in made.report.notes


def test_another_kind_of_model_is_no_teacher(student: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"takes 4 channels, and .* takes 3; give the model that"):
        convert(
            student,
            quant=["float16"],
            size=SIZE,
            teacher=data / "keras2_addons.h5",
            output_dir=tmp_path,
        )
    with pytest.raises(InputError, match="no such file"):
        convert(
            student, quant=["float16"], size=SIZE, teacher=tmp_path / "none.h5", output_dir=tmp_path
        )
    assert not list(tmp_path.glob("*.tflite"))


@pytest.mark.slow
def test_the_shipped_student_is_in_int8_and_near_its_teacher(tmp_path: Path) -> None:
    arguments = ["--demo", "student", "--quant", "int8", "--output-dir", str(tmp_path)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "demo_student_int8.report.json").read_text(encoding="utf-8"))
    assert report["teacher"]["file"] == "demo_pynet.h5"
    assert not report["mixed_precision"]["float_convolutions"]
    assert report["fidelity"]["psnr_db_mean"] > 38
    assert report["fidelity"]["grain_mean"] < 0.6
