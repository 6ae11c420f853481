"""Options and data that training refuses, each in one line before it starts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from click.testing import CliRunner, Result

from bokeh_convert.sources.options import SourceOptions
from bokeh_convert.train.checkpoint import write_checkpoint
from bokeh_convert.train.cli import main
from bokeh_convert.train.teacher import TeacherConfig, _digest, _samples


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def photo(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    cv2.imwrite(str(path), noise)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number in range(3):
        photo(tmp_path / "photos" / f"{number}.png", number)
    return tmp_path / "photos"


@pytest.mark.parametrize(
    "options",
    [
        ("--evaluations", 0), ("--views", 0), ("--batch", 0), ("--width", 5), ("--width", 0),
        ("--seed", -1), ("--patience", 0), ("--speedup", 0.5), ("--int8-learning-rate", 0),
    ],
)  # fmt: skip
def test_numbers_out_of_their_range_are_refused(
    options: tuple[str, object], photos: Path, tmp_path: Path
) -> None:
    result = run("distill", "model.h5", "--photos", photos, "-o", tmp_path / "run", *options)
    assert result.exit_code == 2
    assert f"Invalid value for '{options[0]}'" in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--speedup", 4, "--width", 0.5), "--width: has no effect with --speedup"),
        (("--speedup", 4, "--kernels", "whole"), "--kernels: has no effect with --speedup"),
        (("--int8-steps", 9), "--int8-steps: has no effect; add --int8-aware"),
    ],
)
def test_options_without_effect_are_refused(
    options: tuple[object, ...], words: str, photos: Path, tmp_path: Path
) -> None:
    result = run("distill", "model.h5", "--photos", photos, "-o", tmp_path / "run", *options)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert words in result.stderr


def test_fit_refuses_them_too(tmp_path: Path) -> None:
    result = run("fit", tmp_path, "-o", tmp_path / "run", "--int8-learning-rate", 1e-4)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "--int8-learning-rate: has no effect; add --int8-aware" in result.stderr


def table(folder: Path) -> Path:
    for kind in ("sharp", "bokeh"):
        photo(folder / f"cup_{kind}.jpg", 1)
    (folder / "pairs.tsv").write_text("name\tsplit\ncup\ttrain\n")
    return folder


def test_a_table_that_names_a_missing_photo_is_refused(tmp_path: Path) -> None:
    missing = table(tmp_path) / "cup_bokeh.jpg"
    missing.unlink()
    result = run("fit", tmp_path, "-o", tmp_path / "run")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert f"pairs.tsv: names cup, and {missing} is missing; add the photo" in result.stderr


def test_nothing_left_to_train_on_is_refused(tmp_path: Path) -> None:
    result = run("fit", table(tmp_path), "-o", tmp_path / "run", "--leave-out", "cu")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert f"{tmp_path}: no pair is left to train on" in result.stderr


def test_pasting_without_masks_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "EBB"
    for kind in ("original", "bokeh"):
        photo(folder / "train" / kind / "1.jpg", 1)
    result = run("fit", folder, "-o", tmp_path / "run", "--no-depth", "--paste", 0.5)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert f"--paste 0.5: has no effect, since no pair of {folder} has a mask" in result.stderr
    assert not (tmp_path / "run").exists()


def test_a_run_of_another_command_is_not_evaluated(tmp_path: Path) -> None:
    shutil.copy(table(tmp_path) / "pairs.tsv", tmp_path / "all.tsv")
    write_checkpoint(tmp_path / "run", {"crop_steps": 1}, 1, {"w0": np.zeros(1)}, {})
    result = run("evaluate", tmp_path / "run", tmp_path, "--split", "train")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert f"is not a run of `bokeh-train fit`; give {tmp_path / 'run' / 'model.h5'}" in (
        result.stderr
    )


def test_a_network_of_two_inputs_is_not_fine_tuned(photos: Path, tmp_path: Path) -> None:
    inputs = [keras.Input((64, 96, channels)) for channels in (3, 1)]
    output = keras.layers.Conv2D(3, 3, padding="same")(keras.layers.Concatenate()(inputs))
    model = tmp_path / "two.keras"
    keras.Model(inputs, output).save(model)
    result = run("finetune", model, "--photos", photos, "-o", tmp_path / "run")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert f"{model}: has 2 inputs; give a model with one" in result.stderr


def teacher(photos: Path, held_out: Path | None = None) -> TeacherConfig:
    return TeacherConfig(
        path=Path("model.h5"), photos=photos, held_out=held_out, size=None, crop=32, crops=1,
        whole=1, seed=0, source=SourceOptions(),
    )  # fmt: skip


def test_the_test_part_of_a_data_set_is_held_out(photos: Path, tmp_path: Path) -> None:
    for number, part in enumerate(("train", "test")):
        for kind in ("original", "bokeh"):
            photo(tmp_path / "EBB" / part / kind / "1.jpg", 10 + number)
    kept, held_out = _samples(teacher(photos, tmp_path / "EBB"), 3, lambda note: None)
    assert len(kept) == 3
    assert [sample.photo.parts[-3] for sample in held_out] == ["test"]


def test_outputs_are_those_of_the_depth_maps_and_of_what_is_held_out(photos: Path) -> None:
    config = teacher(photos)

    def digest(count: int) -> str:
        kept, held_out = _samples(config, 4, lambda note: None)
        every = [*kept, *held_out]
        return _digest(config, "model", every[:count], every[count:])

    first = digest(2)
    assert digest(2) == first
    assert digest(1) != first
    photo(photos / "0.png", 0).rename(photos / "0.jpg")
    cv2.imwrite(str(photos / "0_depth.png"), np.full((64, 80), 90, np.uint8))
    with_depth = digest(2)
    assert with_depth != first
    cv2.imwrite(str(photos / "0_depth.png"), np.full((64, 80), 91, np.uint8))
    assert digest(2) != with_depth


def test_a_crop_that_a_student_does_not_take_is_refused(tmp_path: Path, photos: Path) -> None:
    image = keras.Input((None, None, 3))
    model = tmp_path / "any_size.keras"
    keras.Model(image, keras.layers.Conv2D(3, 3, padding="same")(image)).save(model)
    result = run(
        "distill", model, "--photos", photos, "-o", tmp_path / "run", "--crop", 100,
        "--input-range", "0..1", "--output-range", "0..1",
    )  # fmt: skip
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1), result.stderr
    assert "--crop 100: give a multiple of 32" in result.stderr
    assert json.dumps(sorted(path.name for path in (tmp_path / "run").rglob("*.npy"))) == "[]"


def test_a_name_that_is_too_long_is_one_line(tmp_path: Path) -> None:
    for words in (("fit", "a" * 300), ("distill", "a" * 300 + ".h5", "--photos", tmp_path)):
        result = run(*words, "-o", tmp_path / "run")
        assert result.exit_code == 2
        assert result.stderr.endswith("File name too long; check the path\n")
        assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["distill", "finetune"])
def test_a_run_does_not_write_over_what_it_reads(
    command: str, photos: Path, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    teacher, linked = models / "model.h5", tmp_path / "linked.h5"
    teacher.write_bytes(b"weights of a week")
    linked.symlink_to(teacher)
    own = shutil.copy(photo(photos / "heldout.png", 9), tmp_path / "copy.png")
    for model, folder, named in (
        (teacher, models, teacher),
        (linked, models, teacher),
        (tmp_path / "linked.h5", photos, photos),
    ):
        result = run(command, model, "--photos", photos, "-o", folder)
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
        assert f"bokeh-train: {named}: is read by this command" in result.stderr
    assert teacher.read_bytes() == b"weights of a week"
    assert (photos / "heldout.png").read_bytes() == Path(own).read_bytes()
    assert [path.name for path in models.iterdir()] == ["model.h5"]


def saved(path: Path, inputs: list[tuple[int | None, ...]], filters: list[int]) -> Path:
    """Stores a network whose outputs are convolutions of its inputs, side by side."""
    images = [keras.Input(shape) for shape in inputs]
    whole = images[0] if len(images) == 1 else keras.layers.Concatenate()(images)
    outputs = [keras.layers.Conv2D(count, 3, padding="same")(whole) for count in filters]
    keras.Model(images, outputs).save(path)
    return path


@pytest.mark.parametrize(
    ("inputs", "filters", "said"),
    [
        ([(96, 64, 3)], [3], "does not run on 64 x 64 px ("),
        ([(None, None, 3), (None, None, 1)], [3], "has 2 inputs; give a model with one"),
        ([(None, None, 3)], [3, 3], "has 2 outputs; give a model with one"),
        ([(None, None, 1)], [3], "takes any x any x 1; give a model of RGB or RGB + depth"),
        ([(None, None, 3)], [1], "returns any x any x 1; give a model that returns RGB"),
    ],
)
def test_a_network_that_does_not_draw_photos_is_not_evaluated(
    inputs: list[tuple[int | None, ...]], filters: list[int], said: str, tmp_path: Path
) -> None:
    model = saved(tmp_path / "m.keras", inputs, filters)
    result = run("evaluate", model, table(tmp_path), "--split", "train", "--short-side", 64)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1), result.output
    assert f"bokeh-train: {model}: {said}" in result.stderr


def test_a_size_that_a_network_does_not_take_is_one_line(tmp_path: Path) -> None:
    image = keras.Input((None, None, 3))
    pooled = keras.layers.UpSampling2D(64)(keras.layers.MaxPooling2D(64)(image))
    model = tmp_path / "multiple_of_64.keras"
    keras.Model(image, keras.layers.Add()([image, pooled])).save(model)
    result = run("evaluate", model, table(tmp_path), "--split", "train", "--short-side", 96)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1), result.output
    assert f"{model}: does not run on 96 x 96 px (" in result.stderr
    assert "; give another --short-side" in result.stderr


@pytest.mark.parametrize(
    ("package", "said"),
    [
        ("h5py", "h5py is not installed; pip install 'bokeh-tflite[convert]'"),
        ("torch", "KERAS_BACKEND=torch: not installed; pip install torch"),
    ],
)
def test_a_package_that_is_not_installed_is_one_line(
    package: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ModuleNotFoundError(f"No module named '{package}'", name=package)

    monkeypatch.setattr("bokeh_convert.train.cli._fit", fail)
    result = run("fit", table(tmp_path), "-o", tmp_path / "run")
    assert (result.exit_code, result.stderr) == (2, f"bokeh-train: {said}\n")


def test_an_import_that_fails_in_our_own_code_is_an_error_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ImportError("cannot import name 'x'", name="bokeh_convert.train.export")

    monkeypatch.setattr("bokeh_convert.train.cli._fit", fail)
    assert isinstance(run("fit", table(tmp_path), "-o", tmp_path / "run").exception, ImportError)
