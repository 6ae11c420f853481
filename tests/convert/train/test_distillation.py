from __future__ import annotations

import json
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from click.testing import CliRunner, Result

from bokeh_bench.studies.students import read_students
from bokeh_convert.data.calibration_data import Sample, to_network_input
from bokeh_convert.pynet.int8_aware import FakeQuantize
from bokeh_convert.pynet.layers import InstanceNormalization
from bokeh_convert.sources.keras3 import open_keras3
from bokeh_convert.train.checkpoint import CHECKPOINT, LOG
from bokeh_convert.train.cli import main
from bokeh_convert.train.distill import Progress
from bokeh_convert.train.distill import distill as train
from bokeh_convert.train.distill_state import DistillConfig, DistillState, Part
from bokeh_convert.train.int8_aware import with_rounded_kernels
from bokeh_convert.train.losses import mean_error, ms_ssim_loss, smooth_gradient_error
from bokeh_convert.train.teacher_outputs import (
    CROPS,
    DESCRIPTION,
    HELD_OUT,
    WHOLE,
    load_outputs,
    load_teacher,
)
from bokeh_convert.train.views import ViewConfig, views
from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.photo import read_photo
from bokeh_runtime.metrics.ms_ssim import ms_ssim
from bokeh_runtime.metrics.psnr import psnr
from helpers.schemas import check_format
from helpers.teachers import store_blurring_teacher

VIEWS = ViewConfig(7, 48, 64, 4, "area", 3)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five photos of several sizes, without depth maps."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(4)
    for number in range(5):
        noise = rng.integers(0, 256, (90 + 20 * number, 140, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), cv2.GaussianBlur(noise, (0, 0), 4))
    return folder


def samples(folder: Path) -> list[Sample]:
    return [Sample(path, None) for path in sorted(folder.iterdir())]


def test_views_are_the_same_wherever_a_run_resumed(photos: Path) -> None:
    whole = list(views(samples(photos)[:3], VIEWS))
    assert [view.shape for view in whole] == [(48, 64, 4)] * 7
    resumed = list(views(samples(photos)[:3], VIEWS, 4))
    for ours, theirs in zip(whole[4:], resumed, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert len({view.tobytes() for view in whole}) == 7
    depth = np.stack([view[..., 3] for view in whole])
    assert depth.std() > 10, "a photo without a depth map gets a synthetic one"


def test_all_photos_are_seen_equally_often(tmp_path: Path) -> None:
    paths = [tmp_path / f"{shade}.png" for shade in range(0, 250, 50)]
    for path in paths:
        cv2.imwrite(str(path), np.full((60, 80, 3), int(path.stem), np.uint8))
    config = ViewConfig(7, 48, 64, 3, "area", 3)
    seen = [round(float(view.mean())) for view in views([Sample(p, None) for p in paths], config)]
    changes = sum(abs(a - b) > 15 for a, b in pairwise(seen))
    assert changes == 4, "five photos in a row"


def test_without_a_seed_a_view_is_the_whole_photo(photos: Path) -> None:
    (sample, *_) = samples(photos)
    config = ViewConfig(1, 45, 70, 3, "area", None)
    (view,) = views([sample], config)
    expected = cv2.resize(cv2.imread(str(sample.photo)), (70, 45), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(view, expected[..., ::-1], atol=1)


def test_the_losses_are_those_of_their_definitions() -> None:
    rng = np.random.default_rng(2)
    target = cv2.GaussianBlur(rng.random((192, 192, 3)).astype(np.float32), (0, 0), 2)
    output = np.clip(target + rng.normal(0, 0.03, target.shape).astype(np.float32), 0, 1)
    assert float(mean_error(target, output)) == pytest.approx(
        np.abs(target - output).mean(), abs=0.004
    )
    # The metric has a fifth scale and takes its product over the channels.
    loss = float(ms_ssim_loss(target[np.newaxis], output[np.newaxis], 192))
    assert loss == pytest.approx(1 - ms_ssim(output, target), rel=0.3)
    assert float(ms_ssim_loss(target[np.newaxis], target[np.newaxis], 192)) < 1e-5
    smooth = np.zeros((1, 192, 192, 1), np.float32)
    assert float(smooth_gradient_error(target[np.newaxis], output[np.newaxis], smooth)) == 0
    shifted = target[np.newaxis] + 0.1  # a shift of the tone is no grain
    assert float(smooth_gradient_error(target[np.newaxis], shifted, smooth + 1)) < 1e-6


def distill(teacher: Path, photos: Path, run: Path, *options: str) -> Result:
    arguments = ["distill", str(teacher), "--photos", str(photos), "-o", str(run), *options]
    return CliRunner().invoke(main, arguments)


SMALL = (
    "--input-range", "0..1", "--output-range", "0..1", "--width", "0.02", "--residual-blocks", "0",
    "--views", "4", "--whole-steps", "1", "--evaluations", "1",
)  # fmt: skip


@pytest.mark.slow
def test_a_student_of_a_foreign_keras_2_network_draws_what_its_teacher_draws(
    data: Path, photos: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    teacher = data / "keras2_addons.h5"
    result = distill(teacher, photos, run, *SMALL)
    assert result.exit_code == 0, result.output
    assert "factorized kernels, 0 residual blocks; starts at random" in result.stderr
    described = load_teacher(run / "teacher")
    assert (described.size, described.channels, described.width) == ((64, 96), 4, None)
    held_out = load_outputs(run / "teacher", HELD_OUT, described.heads)
    trained_on = load_outputs(run / "teacher", WHOLE, described.heads)
    assert held_out is not None
    assert trained_on is not None
    assert len(held_out.inputs) == 1, "an eighth of five photos, at least one"
    assert len(trained_on.inputs) == 4
    (line,) = [json.loads(line) for line in (run / LOG).read_text().splitlines()]
    student = open_keras3(run / "model.h5")
    image = to_network_input(held_out.inputs[0])[np.newaxis]
    drawn = np.clip(keras.ops.convert_to_numpy(student(image, training=False))[0], 0, 1)
    expected = held_out.outputs[described.heads[-1]][0].astype(np.float32)
    assert psnr(drawn, expected, border_px=0) == pytest.approx(line["psnr_db"], abs=0.1)
    assert any(layer.name.endswith("_column") for layer in student.layers)
    report = json.loads((run / "report.json").read_text())
    assert report["fidelity"]["psnr_db_mean"] == pytest.approx(line["psnr_db"], abs=0.1)
    assert report["int8_fidelity"] is None
    assert (report["student"]["width"], report["student"]["residual_blocks"]) == (0.02, 0)
    assert report["student"]["multiplications"] > 0
    assert (report["training"]["whole_steps"], report["training"]["int8_steps"]) == (1, 0)
    assert "takes one size only, so there are no crops; their steps are left out" in result.stderr
    assert report["steps_done"] == {"whole views": 1}
    check_format(report)
    (row,) = read_students([run])
    assert row.network == "width 0.02, factorized kernels, residual blocks: 0"
    own, teachers = report["student"]["multiplications"], described.multiplications
    assert row.multiplications == pytest.approx(own / teachers)
    assert (row.float_steps, row.int8_steps) == (1, 0)
    assert f"in float: {report['fidelity']['psnr_db_mean']} dB from the teacher" in result.stderr
    sheet = read_photo(run / "heldout.png").pixels
    assert sheet.shape == (64, 4 * 96, 3)
    # Outputs of another teacher are not mixed up with these.
    other = distill(teacher, photos, run, *SMALL, "--views", "5")
    assert other.exit_code == 2
    assert "holds the outputs of another teacher or of other photos" in other.stderr


@pytest.mark.slow
def test_a_network_of_any_form_is_fine_tuned(photos: Path, tmp_path: Path) -> None:
    model, run = tmp_path / "own.keras", tmp_path / "run"
    inner = drawing_student()
    keras.Model([inner.input], inner.output).save(model)  # a list of inputs is cloned as one
    broken = tmp_path / "photos"
    shutil.copytree(photos, broken)
    (broken / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    arguments = [
        "finetune", str(model), "--photos", str(broken), "-o", str(run), "--size", "40x56",
        "--views", "4", "--crops", "4", "--crop", "32", "--steps", "4", "--evaluations", "1",
        "--input-range", "0..1", "--output-range", "0..1",
    ]  # fmt: skip
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert f"skipped: {broken / 'cut.jpg'}: " in result.stderr
    tuned = open_keras3(run / "model.h5")
    assert sum(isinstance(layer, FakeQuantize) for layer in tuned.layers) == 4
    report = json.loads((run / "report.json").read_text())
    assert report["fidelity"]["psnr_db_mean"] > 40
    held_out = load_outputs(run / "teacher", HELD_OUT, ["l0"])
    assert held_out is not None
    rounds = with_rounded_kernels(tuned)
    image = to_network_input(held_out.inputs[0])[np.newaxis]
    drawn = np.clip(keras.ops.convert_to_numpy(rounds(image, training=False))[0], 0, 1)
    in_int8 = psnr(drawn, held_out.outputs["l0"][0].astype(np.float32), border_px=0)
    assert report["int8_fidelity"]["psnr_db_mean"] == pytest.approx(in_int8, abs=0.01)
    assert 25 < in_int8 < report["fidelity"]["psnr_db_mean"]
    assert report["student"] is None
    check_format(report)
    (row,) = read_students([run])
    assert row.network == "itself, layers below 0.5 of the height frozen, feature weight 0.1"
    assert (row.multiplications, row.int8_steps) == (1.0, 4)
    assert read_photo(run / "heldout.png").pixels.shape == (40, 5 * 56, 3)
    again = CliRunner().invoke(
        main,
        ["finetune", str(run / "model.h5"), "--photos", str(photos), "-o", str(tmp_path / "2")],
    )
    assert again.exit_code == 2
    assert f"{run / 'model.h5'}: was trained with rounding already" in again.stderr


def test_what_cannot_be_fine_tuned_is_refused_before_the_teacher_runs(
    data: Path, photos: Path, tmp_path: Path
) -> None:
    for model, cause in (
        (data / "networks" / "signed_input.h5", "was trained on another value range than 0..1"),
        (tmp_path / "none.h5", "no such file; check the path"),
    ):
        arguments = ["finetune", str(model), "--photos", str(photos), "-o", str(tmp_path / "run")]
        result = CliRunner().invoke(main, [*arguments, "--input-range", "-1..1"])
        assert result.exit_code == 2
        assert f"bokeh-train: {model}: {cause}" in result.stderr
    assert not list((tmp_path / "run").rglob("*.npy"))


def small_student() -> keras.Model:
    keras.utils.set_random_seed(1)
    photo = keras.Input((None, None, 3), name="photo")
    x = keras.layers.Conv2D(8, 3, padding="same")(photo)
    x = InstanceNormalization()(x)
    x = keras.layers.LeakyReLU(negative_slope=0.2)(x)
    x = keras.layers.Conv2D(3, 3, padding="same", kernel_initializer="zeros")(x)
    return keras.Model(photo, keras.layers.Add()([photo, x]))


CONFIG = DistillConfig(
    crop_steps=6, whole_steps=6, int8_steps=6, batch=4, learning_rate=1e-2,
    int8_learning_rate=1e-3, smooth_weight=1.0, ms_ssim_weight=0.02, feature_weight=0.0,
    frozen_below=0.0, evaluations=3, patience=9, seed=5,
)  # fmt: skip


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stored outputs of a teacher that blurs."""
    folder = tmp_path_factory.mktemp("teacher")
    store_blurring_teacher(folder)
    return folder


class StoppedError(Exception):
    pass


def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(
    taught: Path, tmp_path: Path
) -> None:
    scores: list[float | None] = []
    whole = train(
        small_student(), ("l0",), CONFIG, taught, tmp_path / "whole",
        on_step=lambda progress: scores.append(progress.psnr_db),
    )  # fmt: skip
    assert len(scores) == 18
    assert scores[-7] is not None
    assert scores[1] is not None
    assert scores[-7] > scores[1] + 1, "the student comes nearer to its teacher"
    for stop in (4, 9, 15):

        def on_step(progress: Progress, stop: int = stop) -> None:
            if progress.step == stop:
                raise StoppedError

        run = tmp_path / str(stop)
        with pytest.raises(StoppedError):
            train(small_student(), ("l0",), CONFIG, taught, run, save_seconds=0, on_step=on_step)
        resumed = train(small_student(), ("l0",), CONFIG, taught, run)
        for ours, theirs in zip(resumed.get_weights(), whole.get_weights(), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)
    with pytest.raises(InputError, match="was trained with another int8_steps"):
        train(small_student(), ("l0",), replace(CONFIG, int8_steps=7), taught, tmp_path / "4")


def drawing_student() -> keras.Model:
    """A student whose last convolution is not zero, so that what rounds has a slope."""
    student = small_student()
    kernel = student.layers[-2].kernel
    kernel.assign(keras.random.normal(kernel.shape, stddev=0.1, seed=2))
    return student


def test_a_run_that_compares_features_resumes_and_leaves_nothing_of_that_in_the_model(
    taught: Path, tmp_path: Path
) -> None:
    config = replace(CONFIG, crop_steps=0, whole_steps=0, feature_weight=0.5)
    whole = train(drawing_student(), ("l0",), config, taught, tmp_path / "whole")
    without = train(
        drawing_student(), ("l0",), replace(config, feature_weight=0), taught, tmp_path / "without"
    )
    assert len(whole.layers) == len(without.layers)
    changes = [
        np.abs(a - b).max() for a, b in zip(whole.get_weights(), without.get_weights(), strict=True)
    ]
    assert max(changes) > 1e-4

    def stop(progress: Progress) -> None:
        if progress.step == 2:
            raise StoppedError

    run = tmp_path / "run"
    with pytest.raises(StoppedError):
        train(drawing_student(), ("l0",), config, taught, run, save_seconds=0, on_step=stop)
    resumed = train(drawing_student(), ("l0",), config, taught, run)
    for ours, theirs in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_the_best_weights_are_kept_until_rounding_begins(taught: Path, tmp_path: Path) -> None:
    state = DistillState(small_student(), ("l0",), CONFIG, taught, tmp_path)
    state.open(Part("crops", CROPS, 1, 1e-3, rounds=False))
    best = [np.full_like(weight, 0.5) for weight in state.network.get_weights()]
    state.best, state.since_best = (0.1, best), 2
    state.close()
    state.open(Part("whole views", WHOLE, 1, 1e-3, rounds=False))
    state.resume(1, keras.optimizers.Adam())
    assert (state.best, state.since_best) == ((0.1, best), 0)
    state.network.set_weights([weight + 1 for weight in best])
    state.close()
    for own, expected in zip(state.network.get_weights(), best, strict=True):
        np.testing.assert_array_equal(own, expected)
    state.open(Part("int8 crops", CROPS, 1, 1e-3, rounds=True))
    assert state.best is None


def test_weights_on_the_way_back_are_taken_if_they_are_better(taught: Path, tmp_path: Path) -> None:
    state = DistillState(drawing_student(), ("l0",), CONFIG, taught, tmp_path)
    state.open(Part("int8 crops", CROPS, 1, 1e-3, rounds=True))
    before = state.network.get_weights()
    trained = [weight + 1 for weight in before]

    def share() -> float:
        return float(state.network.get_weights()[0].mean() - before[0].mean())

    for wanted in (0.6, 1.0):
        state.best = abs(1 - wanted), trained
        state.blend(lambda *_, wanted=wanted: abs(share() - wanted))
        assert share() == pytest.approx(wanted, abs=1e-3)


def test_a_loss_on_held_out_photos_that_is_not_finite_is_not_the_best(
    taught: Path, tmp_path: Path
) -> None:
    state = DistillState(small_student(), ("l0",), CONFIG, taught, tmp_path)
    with pytest.raises(InputError, match="the loss on held-out photo 1 is nan; start again"):
        state._keep_if_best(lambda *_: np.nan)
    assert state.best is None


def test_another_student_does_not_resume_a_run(taught: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, crop_steps=1, whole_steps=0, int8_steps=0)
    train(small_student(), ("l0",), config, taught, tmp_path)
    photo = keras.Input((None, None, 3))
    other = keras.Model(photo, keras.layers.Conv2D(3, 5, padding="same")(photo))
    with pytest.raises(InputError, match="was trained with another student; use the same"):
        train(other, ("l0",), config, taught, tmp_path)


def test_a_part_ends_early_when_the_student_comes_no_nearer(taught: Path, tmp_path: Path) -> None:
    steps: list[int] = []
    config = replace(
        CONFIG, crop_steps=0, int8_steps=0, whole_steps=40, learning_rate=0.0, evaluations=20,
        patience=3,
    )  # fmt: skip
    train(
        small_student(), ("l0",), config, taught, tmp_path,
        on_step=lambda progress: steps.append(progress.step),
    )  # fmt: skip
    assert steps[-1] == 8, "the first comparison and three that are no better"
    assert DistillState(small_student(), ("l0",), config, taught, tmp_path).steps_done == {
        "whole views": 8
    }


def test_a_run_is_resumed_with_the_same_teacher_and_photos(tmp_path: Path) -> None:
    store_blurring_teacher(tmp_path)
    config = replace(CONFIG, crop_steps=1, whole_steps=0, int8_steps=0)
    (tmp_path / DESCRIPTION).write_text('{"digest": "one"}')
    train(small_student(), ("l0",), config, tmp_path, tmp_path / "run")
    (tmp_path / DESCRIPTION).write_text('{"digest": "two"}')
    refused = "with another teacher or other photos; use the same or"
    with pytest.raises(InputError, match=refused):
        train(small_student(), ("l0",), config, tmp_path, tmp_path / "run")

    checkpoint = tmp_path / "run" / CHECKPOINT
    with np.load(checkpoint) as arrays:
        nameless = {name: arrays[name] for name in arrays.files if name != "teacher"}
    with checkpoint.open("wb") as file:
        np.savez(file, **nameless)
    with pytest.raises(InputError, match=refused):
        train(small_student(), ("l0",), config, tmp_path, tmp_path / "run")


def test_wrong_input_is_named_before_anything_is_trained(
    data: Path, photos: Path, tmp_path: Path
) -> None:
    teacher = data / "networks" / "tanh.h5"
    result = distill(teacher, photos, tmp_path / "run")
    assert result.exit_code == 2
    assert f"{teacher}: runs at 48 x 72 px, and the student is a PyNET" in result.stderr
    photo = keras.Input((64, 96, 3))
    upscales = tmp_path / "upscales.keras"
    keras.Model(photo, keras.layers.UpSampling2D(3)(photo)).save(upscales)
    ranges = ("--input-range", "0..1", "--output-range", "0..1")
    result = distill(upscales, photos, tmp_path / "run", *ranges)
    assert result.exit_code == 2
    assert f"{upscales}: its output has 192 rows for an input of 64; give a model" in result.stderr
    result = distill(data / "keras2_addons.h5", tmp_path / "none", tmp_path / "run")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "none: no such folder; check the path" in result.stderr
