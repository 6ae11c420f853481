from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from bokeh_bench.measure.references import GroundTruth
from bokeh_runtime.errors import InputError


@pytest.fixture
def folders(tmp_path: Path, rng: np.random.Generator) -> tuple[Path, Path]:
    """Three sharp photos with depth maps beside them, and the targets of two."""
    photos, targets = tmp_path / "photos", tmp_path / "targets"
    photos.mkdir()
    targets.mkdir()
    for name in "abc":
        photo = cv2.GaussianBlur(rng.integers(0, 255, (40, 60, 3), np.uint8), (0, 0), 3)
        cv2.imwrite(str(photos / f"{name}.jpg"), photo)
        cv2.imwrite(str(photos / f"{name}.png"), photo[..., 0])
        if name != "c":
            cv2.imwrite(str(targets / f"{name}.jpg"), cv2.blur(photo, (9, 9)))
            cv2.imwrite(str(targets / f"{name}.png"), photo[..., 0])
    (targets / "c.txt").write_text("not an image")
    return photos, targets


def test_depth_maps_beside_photos_and_targets_are_no_ground_truth(
    folders: tuple[Path, Path],
) -> None:
    photos, targets = folders
    truth = GroundTruth(photos, targets)
    assert [(pair.sharp.name, pair.bokeh.name) for pair in truth.pairs] == [
        ("a.jpg", "a.jpg"),
        ("b.jpg", "b.jpg"),
    ]
    named = "grey pictures named after a photo (depth maps or masks)"
    assert [note.split(": ")[1] for note in truth.notes] == [
        f"skipped 3 {named}",
        f"skipped 2 {named}, 1 other file",
        "1 of 3 photos have no target",
    ]
    assert len(list(truth.reference_samples((32, 48, 3), 1.0, "area"))) == 2


def test_without_a_target_of_that_name_there_is_no_pair(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"any")
    (tmp_path / "targets").mkdir()
    with pytest.raises(InputError, match="no file has the name of a photo"):
        GroundTruth(tmp_path, tmp_path / "targets")


def test_photos_without_a_target_are_counted(folders: tuple[Path, Path]) -> None:
    photos, targets = folders
    for name in ("b.jpg", "b.png"):
        (targets / name).unlink()
    assert f"{photos}: 2 of 3 photos have no target" in GroundTruth(photos, targets).notes


def test_two_targets_of_one_name_are_refused(folders: tuple[Path, Path]) -> None:
    photos, targets = folders
    (targets / "a.webp").write_bytes((targets / "a.jpg").read_bytes())
    with pytest.raises(InputError, match=r"a\.webp: is a target of the name of a\.jpg; remove one"):
        GroundTruth(photos, targets)


def test_nested_photos_are_compared_with_targets_in_the_same_subfolders(
    folders: tuple[Path, Path],
) -> None:
    photos, targets = folders
    for folder in folders:
        (folder / "x").mkdir()
        for name in ("a.jpg", "a.png", "b.jpg", "b.png"):
            (folder / name).rename(folder / "x" / name)
    (targets / "a.jpg").write_bytes((targets / "x" / "a.jpg").read_bytes())
    truth = GroundTruth(photos, targets)
    assert [(pair.name, pair.bokeh) for pair in truth.pairs] == [
        ("x/a", targets / "x" / "a.jpg"),
        ("x/b", targets / "x" / "b.jpg"),
    ]
    assert truth.pairs[1].depth == photos / "x" / "b.png"


@pytest.mark.parametrize("given", [".", "test"])
def test_the_pairs_of_ebbs_layout_have_their_depth_maps(
    given: str, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    photos, targets = folders
    for part in ("original", "original_depth", "bokeh"):
        (tmp_path / "ebb" / "test" / part).mkdir(parents=True)
    for source, part, name in (
        (photos, "original", "a.jpg"),
        (photos, "original_depth", "a.png"),
        (targets, "bokeh", "a.jpg"),
    ):
        (tmp_path / "ebb" / "test" / part / name).write_bytes((source / name).read_bytes())
    truth = GroundTruth(tmp_path / "ebb" / given)
    assert truth.notes == []
    (sample,) = truth.reference_samples((32, 48, 4), 1.0, "area")
    depth = cv2.imread(str(photos / "a.png"), cv2.IMREAD_GRAYSCALE)
    expected = cv2.resize(depth, (48, 32), interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(sample.network_input[..., 3] - expected).max() <= 2
