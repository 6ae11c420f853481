from __future__ import annotations

import json
import math
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cv2
import h5py
import keras
import numpy as np
import pytest
from click.testing import CliRunner

from bokeh_convert.pynet.network import pynet
from bokeh_convert.sources.keras3 import open_keras3
from bokeh_convert.train.batches import AugmentationConfig, batches, make_example
from bokeh_convert.train.checkpoint import CHECKPOINT, LOG, write_checkpoint
from bokeh_convert.train.cli import _training_pairs, main
from bokeh_convert.train.contact_sheet import MOST_ROWS, ContactSheet
from bokeh_convert.train.evaluate import Score, evaluate, masked_psnr, score_data, summary
from bokeh_convert.train.export import export
from bokeh_convert.train.pair_files import PairFiles, refuse_unusable
from bokeh_convert.train.pairs import find_pairs, notes_on_skipped
from bokeh_convert.train.trainer import TrainConfig, load_averaged, train
from bokeh_runtime.errors import InputError

CONFIG = TrainConfig(
    width=0.05,
    input_channels=3,
    residual=True,
    head="l5",  # only the deepest level, which builds in a few seconds
    by_level=False,
    steps=4,
    batch=1,
    crop=32,
    short_side=48,
    paste=0.5,
    learning_rate=1e-3,
    seed=3,
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two training pairs and a held-out one, in the layout with a pairs.tsv."""
    folder = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(1)
    rows = ["name\tsplit"]
    for name, split in (("cup_1", "train"), ("cup_2", "train"), ("hat_1", "heldout")):
        sharp = rng.integers(0, 80, (64, 80, 3), dtype=np.uint8)
        mask = np.zeros((64, 80), np.uint8)
        mask[16:48, 20:60] = 255
        bokeh = np.where(mask[..., None] > 0, sharp, cv2.GaussianBlur(sharp, (0, 0), 3))
        cv2.imwrite(str(folder / f"{name}_sharp.jpg"), sharp)
        cv2.imwrite(str(folder / f"{name}_bokeh.jpg"), bokeh)
        cv2.imwrite(str(folder / f"{name}_mask.png"), mask)
        cv2.imwrite(str(folder / f"{name}_depth.png"), mask // 2)
        rows.append(f"{name}\t{split}")
    (folder / "pairs.tsv").write_text("\n".join(rows) + "\n")
    return folder


def test_ebbs_folders_are_read(dataset: Path, tmp_path: Path) -> None:
    for part in ("original", "bokeh", "original_depth"):
        (tmp_path / "train" / part).mkdir(parents=True)
    for kind, part, name in (
        ("sharp.jpg", "original", "1.jpg"),
        ("bokeh.jpg", "bokeh", "1.jpg"),
        ("depth.png", "original_depth", "1.png"),
        ("sharp.jpg", "original", "2.jpg"),  # without a bokeh photo, skipped
    ):
        content = (dataset / f"cup_1_{kind}").read_bytes()
        (tmp_path / "train" / part / name).write_bytes(content)
    (pair,) = find_pairs(tmp_path, "train")
    assert (pair.name, pair.depth) == ("1", tmp_path / "train" / "original_depth" / "1.png")
    with pytest.raises(ValueError, match=r"test/ is missing; add test/original and test/bokeh"):
        find_pairs(tmp_path, "heldout")
    (tmp_path / "train" / "original" / "1.AAE").touch()
    assert notes_on_skipped(tmp_path, "train") == [
        f"{tmp_path / 'train'}: skipped 1 sidecar, 1 unpaired photo"
    ]
    # The folders themselves, and photos whose suffix is not .jpg.
    (tmp_path / "train" / "bokeh" / "1.jpg").rename(tmp_path / "train" / "bokeh" / "1.JPEG")
    (tmp_path / "train" / "original" / ".trashed-1-1.jpg").touch()
    for split in ("train", "heldout"):
        (again,) = find_pairs(tmp_path / "train", split)
        assert (again.sharp, again.depth) == (pair.sharp, pair.depth)
    with pytest.raises(ValueError, match="no such folder"):
        find_pairs(tmp_path / "none", "heldout")


@pytest.mark.parametrize("scale", [2.0, 1.0, 1 / 8])
def test_an_example_has_the_networks_sizes(scale: float, dataset: Path) -> None:
    config = AugmentationConfig(crop=32, short_side=40, scale=scale, depth=True, paste=1.0)
    pairs = find_pairs(dataset, "train")
    photo, target = make_example(pairs, config, np.random.default_rng(0))
    assert photo.shape == (32, 32, 4)
    side = int(32 * max(scale, 1))
    assert target.shape == (side, side, 3)
    assert photo.min() >= 0
    assert photo.max() <= 1


def test_a_steps_batch_does_not_depend_on_where_a_run_resumed(dataset: Path) -> None:
    pairs = find_pairs(dataset, "train")
    whole = list(batches(pairs, CONFIG.augmentation, 2, seed=9, steps=range(6)))
    resumed = list(batches(pairs, CONFIG.augmentation, 2, seed=9, steps=range(4, 6)))
    assert [len(whole), len(resumed)] == [6, 2]
    for ours, theirs in zip(whole[4:], resumed, strict=True):
        np.testing.assert_array_equal(ours[0], theirs[0])
        np.testing.assert_array_equal(ours[1], theirs[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [{}, {"by_level": True, "head": "l4"}, {"steps": 2, "int8_steps": 2}],
    ids=["all heads", "by level", "int8-aware"],
)
def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(
    changes: dict[str, Any], dataset: Path, tmp_path: Path
) -> None:
    config = replace(CONFIG, **changes)
    pairs = find_pairs(dataset, "train")

    class StoppedError(Exception):
        pass

    def stop_at_3(step: int, loss: float) -> None:
        if step == 3:
            raise StoppedError

    whole = train(config, pairs, tmp_path / "whole")
    with pytest.raises(StoppedError):
        train(config, pairs, tmp_path / "parts", save_seconds=0, on_step=stop_at_3)
    steps: list[int] = []
    resumed = train(
        config, pairs, tmp_path / "parts", on_step=lambda step, loss: steps.append(step)
    )
    assert steps == [3, 4]
    for ours, theirs in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    for ours, theirs in zip(
        load_averaged(tmp_path / "whole").get_weights(), whole.get_weights(), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize(("step", "trained"), [(1, False), (2, False), (3, True)])
def test_a_head_that_has_not_been_trained_yet_is_not_evaluated(
    step: int, trained: bool, tmp_path: Path
) -> None:
    config = replace(CONFIG, by_level=True, head="l4")  # two of the four steps for each level
    write_checkpoint(tmp_path, asdict(config), step, {}, {})
    if trained:  # it goes on to read the weights, of which there are none
        with pytest.raises(KeyError, match="w0"):
            load_averaged(tmp_path)
        return
    said = f"is at step {step} of 4, and level by level its output l4 has not been trained yet"
    with pytest.raises(InputError, match=said):
        load_averaged(tmp_path)


@pytest.mark.slow
def test_another_configuration_in_the_same_folder_is_refused(dataset: Path, tmp_path: Path) -> None:
    pairs = find_pairs(dataset, "train")
    train(replace(CONFIG, steps=1), pairs, tmp_path)
    with pytest.raises(ValueError, match="another steps, seed"):
        train(replace(CONFIG, steps=2, seed=4), pairs, tmp_path)


@pytest.mark.slow
def test_other_pairs_in_the_same_folder_are_refused(dataset: Path, tmp_path: Path) -> None:
    pairs = find_pairs(dataset, "train")
    train(replace(CONFIG, steps=1), pairs, tmp_path)
    with pytest.raises(InputError, match=r"was trained on other pairs; use the same pairs"):
        train(replace(CONFIG, steps=1), pairs[:1], tmp_path)
    changed = replace(pairs[0], bokeh=pairs[1].bokeh)
    with pytest.raises(InputError, match="was trained on other pairs"):
        train(replace(CONFIG, steps=1), [changed, pairs[1]], tmp_path)


def test_a_file_that_no_run_can_use_is_named_before_the_first_step(
    dataset: Path, tmp_path: Path
) -> None:
    whole = find_pairs(dataset, "train")
    flat = [replace(pair, depth=None) for pair in whole]
    for name, content in (("empty.jpg", b""), ("page.jpg", b"<html>404</html>")):
        (tmp_path / name).write_bytes(content)
    broken = [
        replace(whole[0], bokeh=tmp_path / "empty.jpg"),
        replace(whole[1], mask=tmp_path / "page.jpg"),
    ]
    takes_depth = replace(CONFIG, input_channels=4)
    for config, pairs, said in (
        (takes_depth, flat, r"cup_1_sharp\.jpg \(and 1 more\): no depth map, and the model takes"),
        (takes_depth, [whole[0], flat[1]], r"cup_2_sharp\.jpg: no depth map"),
        (CONFIG, broken, r"empty\.jpg: is not an image.* \(and 1 more\)$"),
        (replace(CONFIG, paste=0.0), broken, r"empty\.jpg: is not an image.*TIFF file$"),
    ):
        with pytest.raises(InputError, match=said):
            train(config, pairs, tmp_path / "run")
    with pytest.raises(InputError, match=r"cup_1_sharp\.jpg \(and 1 more\): no depth map"):
        evaluate(lambda photo: photo, flat, short_side=64, depth=True)
    assert not (tmp_path / "run").exists()
    refuse_unusable(flat, depth=False, masks=True)


def test_a_damaged_file_can_be_replaced_and_other_pairs_cannot(
    dataset: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(dataset, tmp_path / "pairs"))
    saved = PairFiles.of(find_pairs(folder, "train")).arrays
    path = tmp_path / CHECKPOINT
    with (folder / "cup_1_sharp.jpg").open("ab") as photo:
        photo.write(b"more")
    PairFiles.of(find_pairs(folder, "train")).refuse_others(path, saved)
    PairFiles.of(find_pairs(folder, "train")).refuse_others(path, {})  # an older checkpoint
    other = [replace(find_pairs(folder, "train")[0], bokeh=folder / "cup_2_bokeh.jpg")]
    for pairs in (find_pairs(folder, "train")[:1], [*other, find_pairs(folder, "train")[1]]):
        with pytest.raises(InputError, match="was trained on other pairs; use the same pairs"):
            PairFiles.of(pairs).refuse_others(path, saved)
    with (folder / "cup_2_bokeh.jpg").open("ab") as photo:
        photo.write(b"more")
    with pytest.raises(InputError, match="was trained on other pairs"):
        PairFiles.of(find_pairs(folder, "train")).refuse_others(path, saved)


@pytest.mark.slow
@pytest.mark.parametrize("keep", [0, 0.5, 1])
def test_a_damaged_checkpoint_is_reported(keep: float, dataset: Path, tmp_path: Path) -> None:
    pairs = find_pairs(dataset, "train")
    train(replace(CONFIG, steps=1), pairs, tmp_path)
    path = tmp_path / CHECKPOINT
    content = path.read_bytes()
    if keep < 1:
        path.write_bytes(content[: int(len(content) * keep)])
    else:
        np.savez(path, step=3)
    for call in (
        lambda: train(replace(CONFIG, steps=1), pairs, tmp_path),
        lambda: load_averaged(tmp_path),
    ):
        with pytest.raises(
            InputError, match=r"checkpoint\.npz: is not a valid checkpoint .*remove it"
        ):
            call()


@pytest.mark.slow
def test_a_folder_is_trained_in_by_one_run_alone(dataset: Path, tmp_path: Path) -> None:
    pairs = find_pairs(dataset, "train")

    def second(step: int, loss: float) -> None:
        with pytest.raises(InputError, match="in use by another run"):
            train(replace(CONFIG, steps=1), pairs, tmp_path)

    train(replace(CONFIG, steps=1), pairs, tmp_path, on_step=second)
    assert sorted(path.name for path in tmp_path.iterdir()) == [CHECKPOINT, LOG]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_an_export_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "model.h5" / "inner").mkdir(parents=True)
    trained = pynet(
        width=CONFIG.width, input_channels=3, heads=CONFIG.heads, residual=CONFIG.residual
    )
    with pytest.raises(InputError, match=r"model\.h5: is a folder"):
        export(trained, CONFIG, tmp_path / "model.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["model.h5"]


@pytest.mark.slow
def test_training_lowers_the_loss(dataset: Path, tmp_path: Path) -> None:
    losses: list[float] = []
    config = replace(CONFIG, steps=40, residual=False, learning_rate=0.03)
    pairs = find_pairs(dataset, "train")
    train(config, pairs, tmp_path, on_step=lambda step, loss: losses.append(loss))
    assert losses[-1] < 0.8 * losses[0]  # smoothed over about 50 steps


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_the_command_trains_and_scores(dataset: Path, tmp_path: Path) -> None:
    options = [
        "--width",
        "0.05",
        "--no-depth",
        "--residual",
        "--head",
        "l5",
        "--steps",
        "1",
        "--batch",
        "1",
        "--crop",
        "32",
        "--short-side",
        "40",
    ]
    run = str(tmp_path / "run")
    done = CliRunner().invoke(main, ["fit", str(dataset), "-o", run, *options])
    assert done.exit_code == 0, done.output
    model = keras.saving.load_model(tmp_path / "run" / "model.h5")
    with h5py.File(tmp_path / "run" / "model.h5") as file:
        assert "input_axes" not in file.attrs["model_config"]  # Keras 3.15's, unknown to 3.12
    assert model.input_shape == (None, None, None, 3)
    sheet = tmp_path / "sheet.png"
    scored = CliRunner().invoke(
        main,
        [
            "evaluate",
            f"{run}/model.h5",
            str(dataset),
            "--short-side",
            "128",
            "--json",
            "--sheet",
            str(sheet),
        ],
    )
    assert scored.exit_code == 0, scored.output
    report = json.loads(scored.stdout)
    assert report["mean"]["photos"] == 1
    assert report["photos"][0]["name"] == "hat_1"
    assert cv2.imread(str(sheet)) is not None


def test_a_missing_dataset_is_exit_code_2(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["fit", str(tmp_path), "-o", str(tmp_path / "run")])
    assert done.exit_code == 2
    assert "neither pairs.tsv nor train/original/" in done.output


def test_output_equal_to_input_scores_as_the_input(dataset: Path) -> None:
    (score,) = evaluate(
        lambda photo: photo, find_pairs(dataset, "heldout"), short_side=64, depth=False
    )
    assert score.whole == score.whole_input
    assert score.background == score.background_input
    assert score.background_detail == pytest.approx(1)
    assert score.target_detail < 0.5
    assert score.subject > 60
    assert summary([score])["photos"] == 1


def test_masked_psnr_matches_a_value_worked_out_by_hand() -> None:
    image, reference = np.zeros((2, 1, 3), np.float32), np.zeros((2, 1, 3), np.float32)
    image[0], image[1] = 0.1, 0.9
    weight = np.array([[[1.0]], [[0.0]]], np.float32)
    assert masked_psnr(image, reference, weight) == pytest.approx(20, abs=1e-4)


def test_nothing_in_the_mask_has_no_psnr() -> None:
    image = np.zeros((2, 1, 3), np.float32)
    assert masked_psnr(image, image + 1, np.zeros((2, 1, 1), np.float32)) is None


def test_scores_of_identical_images_are_json_and_do_not_raise_the_mean() -> None:
    scores = [
        Score("same", math.inf, 20.0, math.inf, 30.0, 20.0, 1.0, 0.5),
        Score("other", 20.0, 20.0, 40.0, 30.0, 20.0, 0.5, 0.5),
    ]
    found = summary(scores)
    assert (found["whole"], found["subject"], found["background_detail"]) == (20, 40, 0.75)
    assert found["whole_pooled"] == pytest.approx(20 + 10 * math.log10(2), abs=1e-3)
    assert (found["whole_worst"], found["identical_photos"]) == (20, 1)
    text = json.dumps([found, *map(score_data, scores)], allow_nan=False)
    assert json.loads(text)[1]["whole"] is None


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (b"name\tset\na\ttrain\n", "has no column 'split'; add the columns name and split"),
        (b"\xff\xfe", "cannot be read"),
        (b"name\tsplit\n", "has no pairs in the split 'train'"),
    ],
)
def test_a_table_that_lists_no_pairs_is_refused(table: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "pairs.tsv").write_bytes(table)
    done = CliRunner().invoke(main, ["fit", str(tmp_path), "-o", str(tmp_path / "run")])
    assert done.exit_code == 2
    assert said in done.output


def test_an_unknown_split_is_refused(dataset: Path) -> None:
    with pytest.raises(ValueError, match="split 'test' is unknown; use train or heldout"):
        find_pairs(dataset, "test")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_model_with_non_finite_output_is_refused(value: float, dataset: Path) -> None:
    def infer(network_input: np.ndarray) -> np.ndarray:
        output = network_input[..., :3].copy()
        output[3, 3] = value
        return output

    with pytest.raises(
        InputError, match=r"hat_1_sharp\.jpg: the output of the model has NaN or infinity"
    ):
        evaluate(infer, find_pairs(dataset, "heldout"), short_side=48, depth=False)


def test_a_random_choice_of_pairs_depends_on_the_seed_alone(dataset: Path) -> None:
    chosen = [_training_pairs(dataset, None, 1, seed) for seed in (0, 0, *range(8))]
    assert chosen[0] == chosen[1]
    assert {pairs[0].name for pairs in chosen} == {"cup_1", "cup_2"}
    assert [pair.name for pair in _training_pairs(dataset, None, 2, 0)] == ["cup_1", "cup_2"]
    assert [pair.name for pair in _training_pairs(dataset, "cup_1", None, 0)] == ["cup_2"]
    with pytest.raises(ValueError, match="--pairs 3: has 2 pairs; give fewer"):
        _training_pairs(dataset, None, 3, 0)


def test_the_file_of_a_residual_network_with_depth_can_be_read(tmp_path: Path) -> None:
    config = replace(CONFIG, input_channels=4)
    model = pynet(width=config.width, input_channels=4, heads=("l5",), residual=True)
    export(model, config, tmp_path / "model.h5")
    photo = np.random.default_rng(1).random((1, 32, 64, 4)).astype(np.float32)
    read = open_keras3(tmp_path / "model.h5")
    expected, found = (keras.ops.convert_to_numpy(one(photo)) for one in (model, read))
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.fixture
def identity(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Evaluates a network that returns its photo; the list gets a line for each photo that ran."""
    ran: list[str] = []

    def infer(photo: np.ndarray) -> np.ndarray:
        ran.append("ran")
        return photo

    monkeypatch.setattr(
        "bokeh_convert.train.inference.open_for_inference", lambda model: (infer, False)
    )
    return ran


def test_a_sheet_that_cannot_be_written_is_refused_before_anything_runs(
    dataset: Path, tmp_path: Path, identity: list[str]
) -> None:
    (tmp_path / "folder.png").mkdir()
    photo = dataset / "hat_1_sharp.jpg"
    content = photo.read_bytes()
    for sheet, said in (
        (tmp_path / "sheet.gif", "its suffix is no image format"),
        (tmp_path / "none" / "sheet.png", "does not exist; create it first"),
        (tmp_path / "folder.png", "is a folder, not a file"),
        (photo, "is read by this command"),
    ):
        done = CliRunner().invoke(main, ["evaluate", "m.h5", str(dataset), "--sheet", str(sheet)])
        assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
        assert f"bokeh-train: {sheet}: " in done.stderr
        assert said in done.stderr
    assert not identity
    assert photo.read_bytes() == content


def test_scores_are_shown_even_if_the_sheet_cannot_be_saved(
    dataset: Path, tmp_path: Path, identity: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(sheet: ContactSheet) -> None:
        raise InputError("sheet.png: no space left; free some")

    monkeypatch.setattr(ContactSheet, "save", full)
    sheet = str(tmp_path / "sheet.png")
    done = CliRunner().invoke(main, ["evaluate", "m.h5", str(dataset), "--sheet", sheet])
    assert done.exit_code == 2
    assert "whole_worst" in done.stdout
    assert identity == ["ran"]


def test_pairs_that_were_left_out_of_training_can_be_evaluated(
    dataset: Path, identity: list[str]
) -> None:
    def found(*options: str) -> list[str]:
        done = CliRunner().invoke(main, ["evaluate", "m.h5", str(dataset), "--json", *options])
        assert done.exit_code == 0, done.output
        return [photo["name"] for photo in json.loads(done.stdout)["photos"]]

    assert found("--split", "train") == ["cup_1", "cup_2"]
    assert found("--split", "train", "--only", "cup_2") == ["cup_2"]
    trained_on = [pair.name for pair in _training_pairs(dataset, "cup_2", None, 0)]
    assert trained_on == ["cup_1"]
    done = CliRunner().invoke(main, ["evaluate", "m.h5", str(dataset), "--only", "cup"])
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert f"--only cup: no pair of {dataset} in the split 'heldout' has a name" in done.stderr
    assert "give another, or another --split" in done.stderr


def test_a_sheet_keeps_a_limited_number_of_rows_with_8_bits(tmp_path: Path) -> None:
    sheet = ContactSheet(tmp_path / "sheet.png")
    for number in range(MOST_ROWS + 5):
        side = 8 + number % 3  # all get the size of the first
        sheet.add([np.full((side, side, 3), shade, np.float32) for shade in (0.0, 0.5, 1.0)])
    assert len(sheet._rows) == MOST_ROWS
    assert {row.dtype for row in sheet._rows} == {np.dtype(np.uint8)}
    sheet.save()
    saved = cv2.imread(str(tmp_path / "sheet.png"))
    assert saved.shape == (MOST_ROWS // 2 * 12, 2 * (24 + 8), 3)
    np.testing.assert_array_equal(saved[4, [6, 14, 22]], [[0] * 3, [128] * 3, [255] * 3])
