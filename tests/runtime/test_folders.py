from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, PngImagePlugin

from bokeh_runtime.imaging.depth_lookup import depth_map_in, find_depth_map
from bokeh_runtime.imaging.folders import list_photos

GREY = np.tile(np.linspace(0, 255, 40).astype(np.uint8), (30, 1))
COLOUR = np.dstack([GREY, GREY[:, ::-1], GREY // 2])


def write(folder: Path, *names: str, pixels: np.ndarray) -> None:
    for name in names:
        Image.fromarray(pixels).save(folder / name)


def names(paths: object) -> list[str]:
    return [path.name for path in paths]  # type: ignore[attr-defined]


def test_a_grey_image_with_the_name_of_a_photo_is_its_map(tmp_path: Path) -> None:
    write(tmp_path, "a.jpg", "b.webp", "c.JPEG", "d.tif", "e.png", pixels=COLOUR)
    write(tmp_path, "a.png", "b.tif", "d.png", "e.jpg", pixels=GREY)
    cv2.imwrite(str(tmp_path / "c.png"), GREY.astype(np.uint16) * 257)
    found = list_photos(tmp_path)
    assert names(found.photos) == ["a.jpg", "b.webp", "c.JPEG", "d.tif", "e.png"]
    assert names(found.skipped_maps) == ["a.png", "b.tif", "c.png", "d.png", "e.jpg"]
    assert found.notes == [
        f"{tmp_path}: skipped 5 grey pictures named after a photo (depth maps or masks)"
    ]


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_grey_image_named_after_a_photo_is_its_map(suffix: str, tmp_path: Path) -> None:
    """As in data sets with NAME_sharp.jpg, NAME_bokeh.jpg, NAME_depth.png, NAME_mask.png."""
    write(tmp_path, "dog_00_sharp.jpg", "dog_00_bokeh.jpg", "cat.jpg", "x y.jpg", pixels=COLOUR)
    maps = sorted(
        f"{stem}.{suffix}"
        for stem in ("cat-disparity", "cat_MASK", "dog_00_depth", "dog_00_mask", "x y depth")
    )
    write(tmp_path, *maps, pixels=GREY)
    found = list_photos(tmp_path)
    assert names(found.photos) == ["cat.jpg", "dog_00_bokeh.jpg", "dog_00_sharp.jpg", "x y.jpg"]
    assert names(found.skipped_maps) == maps


def test_an_image_with_equal_channels_is_grey(tmp_path: Path) -> None:
    write(tmp_path, "a.jpg", "b.jpg", pixels=COLOUR)
    write(tmp_path, "a.png", "b_depth.jpg", pixels=np.dstack([GREY] * 3))
    Image.fromarray(GREY).convert("P").save(tmp_path / "b.png")
    assert names(list_photos(tmp_path).photos) == ["a.jpg", "b.jpg"]


def test_an_image_that_stands_alone_or_is_in_colour_is_a_photo(tmp_path: Path) -> None:
    write(tmp_path, "a.jpg", "a.png", "woman.jpg", "woman_mask.jpg", "e.png", pixels=COLOUR)
    # Grey photos of their own: no photo has that name, or they are of one kind.
    write(tmp_path, "old.png", "the_mask.jpg", "moon.jpg", "moon.webp", "f.png", "f.tif",
          pixels=GREY)  # fmt: skip
    found = list_photos(tmp_path)
    assert names(found.skipped_maps) == found.notes == []
    assert len(found.photos) == 11


WITHOUT_DECODERS = """
import sys
from pathlib import Path
from PIL import features

sys.modules["pillow_heif"] = None
features.check = lambda name: False
from bokeh_runtime.imaging.folders import list_photos
from bokeh_runtime.imaging.photo import PHOTO_SUFFIXES

assert not {".heic", ".avif"} & set(PHOTO_SUFFIXES)
found = list_photos(Path(sys.argv[1]))
print(*(path.name for path in (*found.photos, *found.skipped_maps)))
"""


@pytest.mark.slow
def test_photos_without_an_installed_decoder_are_listed_too(tmp_path: Path) -> None:
    write(tmp_path, "b.jpg", "a.jpg", ".hidden.jpg", pixels=COLOUR)
    write(tmp_path, "c.png", pixels=GREY)
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "notes.txt").touch()
    # Beside a format that is not read here, a map is a map too.
    (tmp_path / "c.heic").write_bytes(b"any")
    (tmp_path / "d.avif").write_bytes(b"any")
    command = [sys.executable, "-c", WITHOUT_DECODERS, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["a.jpg", "b.jpg", "c.heic", "d.avif", "c.png"]


def test_unreadable_photos_are_listed(tmp_path: Path) -> None:
    write(tmp_path, "a.jpg", pixels=COLOUR)
    for name in ("a.png", "a_depth.png"):
        (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    assert len(list_photos(tmp_path).photos) == 3


def test_no_decoder_but_those_of_photos_looks_at_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow's decoder for EPS, for example, starts another program."""
    write(tmp_path, "a.jpg", pixels=COLOUR)
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n%%EOF\n"
    (tmp_path / "a_depth.png").write_bytes(eps)
    called = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: called.append(1))
    assert names(list_photos(tmp_path).photos) == ["a.jpg", "a_depth.png"]
    assert not called


@pytest.mark.parametrize("error", [RuntimeError("damaged"), MemoryError()])
def test_any_error_of_a_decoder_is_one_of_the_photo(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: object) -> None:
        raise error

    write(tmp_path, "a.jpg", "a_depth.png", pixels=COLOUR)
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", fail)
    assert names(list_photos(tmp_path).photos) == ["a.jpg", "a_depth.png"]


def test_a_camera_roll_is_listed_with_a_count_of_what_is_left_out(tmp_path: Path) -> None:
    roll = tmp_path / "DCIM"
    for name in ("100APPLE", "Camera", ".thumbnails", "Camera/thumbnails", ".hidden", "@eaDir"):
        (roll / name).mkdir(parents=True)
    write(roll / "100APPLE", "IMG_1.JPG", "IMG_2.jpg", pixels=COLOUR)
    write(roll / "Camera", "PXL_1.jpg", "PXL_1(1).jpg", "PXL_2.MP.jpg", pixels=COLOUR)
    write(roll / "Camera", ".trashed-1700000000-PXL_3.jpg", "._PXL_1.jpg", pixels=COLOUR)
    for folder in (".thumbnails", "Camera/thumbnails", ".hidden", "@eaDir"):
        write(roll / folder, "1.jpg", pixels=COLOUR)
    for name in ("IMG_1.AAE", "IMG_1.xmp", "IMG_2.THM", "IMG_2.MOV", "IMG_3.MP4", "IMG_4.dng"):
        (roll / "100APPLE" / name).touch()
    (roll / "Thumbs.db").touch()
    found = list_photos(roll)
    assert [path.relative_to(roll).as_posix() for path in found.photos] == [
        "100APPLE/IMG_1.JPG",
        "100APPLE/IMG_2.jpg",
        "Camera/PXL_1(1).jpg",
        "Camera/PXL_1.jpg",
        "Camera/PXL_2.MP.jpg",
    ]
    assert found.notes == [
        f"{roll}: skipped 3 sidecars, 3 thumbnails folders, 2 videos, 1 hidden file, "
        "1 hidden folder, 1 other file, 1 raw photo, 1 trashed file"
    ]


def ebb(folder: Path, *splits: str) -> None:
    """Writes a data set in the layout of EBB!, whose depth maps and targets are colour images."""
    for split in splits:
        for part, suffix in (("original", "jpg"), ("original_depth", "png"), ("bokeh", "jpg")):
            (folder / split / part).mkdir(parents=True)
            write(folder / split / part, f"1.{suffix}", f"2.{suffix}", pixels=COLOUR)


@pytest.mark.parametrize("splits", [("train", "test"), (".",)])
def test_targets_and_depth_maps_of_ebb_are_no_photos(
    splits: tuple[str, ...], tmp_path: Path
) -> None:
    ebb(tmp_path, *splits)
    found = list_photos(tmp_path)
    assert {path.parent.name for path in found.photos} == {"original"}
    count = 2 * len(splits)
    assert len(found.photos) == count
    assert found.notes == [f"{tmp_path}: skipped {count} depth maps, {count} targets"]


def test_grey_images_in_a_folder_of_maps_are_maps(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos_depth").mkdir()
    write(tmp_path / "photos", "a.jpg", pixels=COLOUR)
    write(tmp_path / "photos_depth", "a.jpg", pixels=GREY)
    found = list_photos(tmp_path)
    assert found.photos == [tmp_path / "photos" / "a.jpg"]
    assert found.skipped_maps == [tmp_path / "photos_depth" / "a.jpg"]
    assert len(list_photos(tmp_path / "photos_depth").photos) == 1  # when it is the folder itself


def test_results_of_earlier_runs_and_loops_of_links_are_not_listed(tmp_path: Path) -> None:
    for name in ("out", "old"):
        (tmp_path / name).mkdir()
        write(tmp_path / name, "a.jpg", pixels=COLOUR)
    (tmp_path / "old" / ".bokeh-render.json").write_text("{}")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    write(tmp_path, "a.jpg", pixels=COLOUR)
    found = list_photos(tmp_path, exclude=[tmp_path / "out"])
    assert found.photos == [tmp_path / "a.jpg"]
    assert found.notes == [f"{tmp_path}: skipped 1 results folder"]


def test_results_beside_their_photos_are_not_listed(tmp_path: Path) -> None:
    write(tmp_path, "a.png", "a.bokeh.jpg", "b.jpg", "b.bokeh.jpg", "c.bokeh.jpg", pixels=COLOUR)
    found = list_photos(tmp_path)
    assert names(found.photos) == ["a.png", "b.jpg", "c.bokeh.jpg"]  # c's photo is elsewhere
    assert found.notes == [f"{tmp_path}: skipped 2 earlier results"]


def test_a_depth_map_is_found_by_the_photos_name(tmp_path: Path) -> None:
    ebb(tmp_path / "ebb", "train")
    original = tmp_path / "ebb/train/original"
    assert find_depth_map(original / "1.jpg") == tmp_path / "ebb/train/original_depth/1.png"
    write(tmp_path, *(f"{name}.jpg" for name in "abcdef"), "g_sharp.jpg", pixels=COLOUR)
    write(tmp_path, "a.png", "b_depth.png", "g_depth.png", pixels=GREY)
    write(tmp_path, "c.png", pixels=COLOUR)  # a picture with the same name
    np.save(tmp_path / "d.npy", GREY.astype(np.float32))
    (tmp_path / "depth").mkdir()
    write(tmp_path / "depth", "e.png", pixels=GREY)
    found = {
        name: None if (depth := find_depth_map(tmp_path / f"{name}.jpg")) is None else depth.name
        for name in ("a", "b", "c", "d", "e", "f", "g_sharp")
    }
    assert found == {
        "a": "a.png",
        "b": "b_depth.png",
        "c": None,
        "d": "d.npy",
        "e": "e.png",
        "f": None,
        "g_sharp": "g_depth.png",
    }


def test_a_folder_of_depth_maps_has_the_subfolders_of_the_photos(tmp_path: Path) -> None:
    photos, maps = tmp_path / "photos", tmp_path / "maps"
    for folder in (photos / "a", maps / "a", photos / "original", maps / "original_depth"):
        folder.mkdir(parents=True)
    write(maps / "a", "1.png", pixels=GREY)
    write(maps / "original_depth", "1.png", pixels=GREY)
    write(maps, "1.png", pixels=GREY)
    for photo, depth in (
        ("a/1.jpg", "a/1.png"),
        ("original/1.jpg", "original_depth/1.png"),
        ("1.jpg", "1.png"),
        ("a/2.jpg", "a/2.png"),  # missing
    ):
        assert depth_map_in(maps, photos / photo, photos) == maps / depth
