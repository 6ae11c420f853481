from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

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
