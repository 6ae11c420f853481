from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from bokeh_convert.data.calibration_data import read_sample, skip_unreadable, split_dataset
from bokeh_runtime.errors import InputError
from helpers import phone_photos


def test_every_photo_format_and_name_is_found(photos: Path) -> None:
    (photos / "notes.txt").touch()
    split = split_dataset(photos, channels=3, count=100, seed=0)
    names = {s.photo.name for s in (*split.calibration, *split.verification)}
    assert names == {"a.jpg", "b b.png", "ü.webp", "d.jpeg", "e.png", "写真.jpg"}


@pytest.mark.parametrize("seed", range(3))
def test_the_split_depends_only_on_the_seed(seed: int, photos: Path) -> None:
    first = split_dataset(photos, channels=3, count=2, seed=seed)
    assert first == split_dataset(photos, channels=3, count=2, seed=seed)
    assert len(first.calibration) == 2


def test_one_photo_is_too_few(photos: Path) -> None:
    for photo in sorted(photos.iterdir())[1:]:
        photo.unlink()
    with pytest.raises(InputError, match=r"1 different photos .* at least two"):
        split_dataset(photos, channels=3, count=10, seed=0)


def test_copies_under_other_names_are_the_same_photo(photos: Path) -> None:
    for photo in list(photos.iterdir()):
        photo.with_name(f"copy of {photo.name}").write_bytes(photo.read_bytes())
    split = split_dataset(photos, channels=3, count=100, seed=0)
    calibration, verification = (
        {sample.sha256 for sample in part} for part in (split.calibration, split.verification)
    )
    assert len(calibration) + len(verification) == 6
    assert len(split.calibration) == len(calibration)
    assert not calibration & verification


def test_depth_pngs_are_taken_as_depth_not_as_photos(photos: Path) -> None:
    for photo in list(photos.iterdir()):
        if photo.suffix == ".png":
            photo.unlink()
        else:
            cv2.imwrite(str(photos / "depth.png"), np.full((8, 8), 51, np.uint8))
            (photos / "depth.png").rename(photo.with_suffix(".png"))
    split = split_dataset(photos, channels=4, count=100, seed=0)
    every = [*split.calibration, *split.verification]
    assert len(every) == 4
    assert all(s.photo.suffix != ".png" and s.depth is not None for s in every)
    plane = read_sample(every[0], 32, 64, 4)[..., 3]
    assert np.unique(plane).tolist() == [51]


def test_an_rgb_model_is_not_fed_the_depth_maps_of_its_folder(photos: Path) -> None:
    sharp = {photo.name for photo in photos.iterdir()}
    grey = np.tile(np.arange(70, dtype=np.uint8), (50, 1))
    for name in ("a.png", "d.png", "e_depth.png", "b b_mask.png"):
        cv2.imwrite(str(photos / name), grey)
        grey = grey + 1  # no copies of each other
    split = split_dataset(photos, channels=3, count=100, seed=0)
    every = [*split.calibration, *split.verification]
    assert {sample.photo.name for sample in every} == sharp
    assert split.notes == [
        f"{photos}: skipped 4 grey pictures named after a photo (depth maps or masks)"
    ]


def test_a_folder_of_one_photo_and_its_map_is_too_few(photos: Path) -> None:
    for photo in photos.iterdir():
        if photo.name != "a.jpg":
            photo.unlink()
    cv2.imwrite(str(photos / "a.png"), np.full((50, 70), 9, np.uint8))
    with pytest.raises(InputError, match=r"1 different photos .*skipped 1 grey picture"):
        split_dataset(photos, channels=3, count=10, seed=0)


def test_depth_maps_in_use_are_not_reported_as_skipped(photos: Path) -> None:
    for photo in list(photos.iterdir()):
        if photo.suffix == ".png":
            photo.unlink()
        else:
            cv2.imwrite(str(photos / "depth.png"), np.full((8, 8), 51, np.uint8))
            (photos / "depth.png").rename(photo.with_suffix(".png"))
    assert split_dataset(photos, channels=4, count=100, seed=0).notes == []
    cv2.imwrite(str(photos / "a_mask.png"), np.full((8, 8), 255, np.uint8))
    split = split_dataset(photos, channels=4, count=100, seed=0)
    assert len([*split.calibration, *split.verification]) == 4
    assert "1 grey picture" in split.notes[0]


def test_bundled_photos_decode_and_do_not_overlap() -> None:
    split = split_dataset(None, channels=3, count=100, seed=0)
    calibration = {s.photo.read_bytes() for s in split.calibration}
    verification = {s.photo.read_bytes() for s in split.verification}
    assert len(calibration) >= 8
    assert len(verification) >= 4
    assert not calibration & verification
    for sample in (*split.calibration, *split.verification):
        assert read_sample(sample, 64, 96, 3).shape == (64, 96, 3)


@pytest.fixture
def ebb(photos: Path, tmp_path: Path) -> Path:
    """A data set in the layout of EBB! of the six photos: four in train/, two in test/."""
    for i, photo in enumerate(sorted(photos.iterdir())):
        split = tmp_path / "ebb" / ("train" if i < 4 else "test")
        for part in ("original", "original_depth", "bokeh"):
            (split / part).mkdir(parents=True, exist_ok=True)
        pixels = cv2.imdecode(np.frombuffer(photo.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
        cv2.imwrite(str(split / "original" / f"{i}.jpg"), pixels)
        cv2.imwrite(str(split / "bokeh" / f"{i}.jpg"), 255 - pixels)
        cv2.imwrite(str(split / "original_depth" / f"{i}.png"), np.full((8, 8), 10 * i, np.uint8))
    return tmp_path / "ebb"


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize(
    ("folder", "names"),
    [(".", "0123"), ("train", "0123"), ("train/original", "0123"), ("test", "45")],
)
def test_calibration_photos_and_depth_maps_of_ebbs_layout(
    folder: str, names: str, channels: int, ebb: Path
) -> None:
    split = split_dataset(ebb / folder, channels=channels, count=100, seed=0)
    every = {s.photo.stem: s for s in (*split.calibration, *split.verification)}
    assert "".join(sorted(every)) == names
    for name, sample in every.items():
        part = ebb / ("train" if name < "4" else "test")
        assert sample.photo == part / "original" / f"{name}.jpg"
        if channels == 4:
            assert sample.depth == part / "original_depth" / f"{name}.png"
            assert np.unique(read_sample(sample, 32, 64, 4)[..., 3]).tolist() == [10 * int(name)]
    notes = "; ".join(split.notes)
    assert ("only the photos in train/ are used" in notes) == (folder == ".")
    assert ("depth map" in notes) == (channels == 3 and folder != "train/original")


def test_the_full_model_is_measured_on_the_test_photos_of_ebb(ebb: Path) -> None:
    split = split_dataset(ebb, channels=3, count=100, seed=0, part="test")
    every = [*split.calibration, *split.verification]
    assert {sample.photo.parent for sample in every} == {ebb / "test" / "original"}


def test_nested_photos_are_found_and_other_files_counted(photos: Path) -> None:
    (photos / "trip" / "day 1").mkdir(parents=True)
    (photos / "a.jpg").rename(photos / "trip" / "day 1" / "a.jpg")
    (photos / "trip" / "a.MOV").touch()
    (photos / "trip" / "a.AAE").touch()
    split = split_dataset(photos, channels=3, count=100, seed=0)
    every = [*split.calibration, *split.verification]
    assert photos / "trip" / "day 1" / "a.jpg" in {sample.photo for sample in every}
    assert split.notes == [f"{photos}: skipped 1 sidecar, 1 video"]


def test_a_depth_map_that_lies_as_the_sensor_is_turned(tmp_path: Path) -> None:
    sensor = np.zeros((40, 60, 3), np.uint8)
    sensor[:, 30:, 1] = 255  # right on the sensor is below in the upright photo
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in "ab":
        Image.fromarray(sensor).save(tmp_path / f"{name}.jpg", exif=exif, comment=name.encode())
        cv2.imwrite(str(tmp_path / f"{name}.png"), sensor[..., 1])
    split = split_dataset(tmp_path, channels=4, count=100, seed=0)
    tensor = read_sample(split.calibration[0], 60, 40, 4)
    np.testing.assert_allclose(tensor[..., 3] > 128, tensor[..., 1] > 128)
    assert tensor[40:, :, 3].min() == 255
    notes = skip_unreadable(split, needs_calibration=True).notes
    assert sum("turned by the photo's EXIF orientation" in note for note in notes) == 2


def test_a_photo_without_its_depth_map_is_named(ebb: Path) -> None:
    (ebb / "train" / "original_depth" / "2.png").unlink()
    with pytest.raises(InputError, match=r"2\.jpg: .* no depth map 2\.png .* original_depth;"):
        split_dataset(ebb, channels=4, count=100, seed=0)


def test_a_depth_map_in_the_photo_is_used_if_there_is_no_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    for name in "abc":
        pixels = cv2.GaussianBlur(rng.integers(0, 255, (60, 90, 3), np.uint8), (0, 0), 3)
        photo = phone_photos.encoded(pixels, "JPEG")
        depth = phone_photos.encoded(np.full((20, 30), 255 - 51, np.uint8), "PNG")
        (tmp_path / f"{name}.jpg").write_bytes(phone_photos.gdepth(photo, depth))
    cv2.imwrite(str(tmp_path / "c.png"), np.full((20, 30), 102, np.uint8))
    split = split_dataset(tmp_path, channels=4, count=100, seed=0)
    split = skip_unreadable(split, needs_calibration=True)
    planes = {
        sample.name: np.unique(read_sample(sample, 32, 48, 4)[..., 3]).tolist()
        for sample in (*split.calibration, *split.verification)
    }
    assert planes == {"a": [51], "b": [51], "c": [102]}
