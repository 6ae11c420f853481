"""Lists the photos of a folder without the depth maps and masks that belong to them."""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from bokeh_runtime.imaging.photo import KNOWN_SUFFIXES

_LOSSLESS_SUFFIXES = (".png", ".tif", ".tiff")
_MAP_NAME = re.compile(
    r"(.+?)[ _.-](?:depth(?:[ _-]?map)?|disparity|disp|mask|matte|segmentation|seg)", re.IGNORECASE
)
_SEPARATOR = re.compile(r"[ _.-]")
_MAX_GREY_DIFFERENCE = 4
"""Largest difference between the channels of a grey JPEG after its YCbCr conversion, of 255."""


@dataclass(frozen=True)
class PhotoListing:
    """The images of a folder.

    Attributes:
        path: Path of the folder.
        photos: Paths of the photos, sorted by name.
        skipped_maps: Paths of depth maps and masks, sorted by name.
    """

    path: Path
    photos: Sequence[Path]
    skipped_maps: Sequence[Path]

    @property
    def notes(self) -> list[str]:
        """Notes for the user, one line each."""
        count = len(self.skipped_maps)
        if not count:
            return []
        pictures = "1 grey picture" if count == 1 else f"{count} grey pictures"
        return [f"{self.path}: skipped {pictures} named after a photo (depth maps or masks)"]


def list_photos(folder: Path) -> PhotoListing:
    """Lists the photos of a folder. Hidden files and maps that belong to a photo are left out.

    A map is a grey image that belongs to another image of the folder, by one of these rules:

    - It has the same name and another suffix: a PNG or TIFF next to a JPEG, WebP or HEIC, or any
      grey image next to a colour image.
    - It is called NAME_depth, NAME_disparity, NAME_mask or the like, and there is an image NAME or
      NAME_something.

    A grey image that belongs to no other is a photo. Photos in formats whose decoder is not
    installed are listed too; reading them raises an error that names the missing package.

    Args:
        folder: An existing folder.
    """
    images = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in KNOWN_SUFFIXES
        and not path.name.startswith(".")
        and path.is_file()
    )
    by_stem = defaultdict(list)
    for path in images:
        by_stem[path.stem].append(path)
    names = _names_of_photos(by_stem)
    is_grey = cache(_is_grey)

    def is_map(path: Path) -> bool:
        match = _MAP_NAME.fullmatch(path.stem)
        if match and match[1] in names:
            return is_grey(path)
        same_stem = [twin for twin in by_stem[path.stem] if twin != path]
        if not same_stem or not is_grey(path):
            return False
        lossless = path.suffix.lower() in _LOSSLESS_SUFFIXES
        return any(
            (lossless and twin.suffix.lower() not in _LOSSLESS_SUFFIXES) or not is_grey(twin)
            for twin in same_stem
        )

    skipped_maps = {path for path in images if is_map(path)}
    return PhotoListing(
        folder,
        [path for path in images if path not in skipped_maps],
        [path for path in images if path in skipped_maps],
    )


def _names_of_photos(stems: Collection[str]) -> set[str]:
    """Returns the names that maps may start with: for DSC_1_sharp, also DSC_1 and DSC."""
    names = set()
    for stem in stems:
        if not _MAP_NAME.fullmatch(stem):
            names.add(stem)
            names.update(stem[: found.start()] for found in _SEPARATOR.finditer(stem))
    return names


def _is_grey(path: Path) -> bool:
    """Returns whether an image has one channel or equal channels; False if it is unreadable."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # read_photo reports what is wrong with a file
            with Image.open(path) as image:
                if image.mode in ("1", "L", "LA", "F") or image.mode.startswith("I"):
                    return True
                image.draft("RGB", (256, 256))  # decodes a JPEG at reduced size, which is fast
                pixels = np.asarray(image.convert("RGB"), np.int16)
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError):
        return False
    return int(np.ptp(pixels, axis=2).max(initial=0)) <= _MAX_GREY_DIFFERENCE
