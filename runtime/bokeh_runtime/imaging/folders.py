"""The photos of a folder, told from the depth maps and masks that lie between them."""

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

_LOSSLESS = (".png", ".tif", ".tiff")  # what maps are written in where photos are not
_MAP = re.compile(
    r"(.+?)[ _.-](?:depth(?:[ _-]?map)?|disparity|disp|mask|matte|segmentation|seg)", re.IGNORECASE
)
_SEPARATOR = re.compile(r"[ _.-]")
_GREY_LEVELS = 4
"""How far the channels of a grey JPEG may differ after the way to YCbCr and back, of 255."""


@dataclass(frozen=True)
class PhotoListing:
    """What a folder holds.

    Attributes:
        path: Of the folder.
        photos: In the order of their names.
        maps: Depth maps and masks; likewise.
    """

    path: Path
    photos: Sequence[Path]
    maps: Sequence[Path]

    @property
    def notes(self) -> list[str]:
        """What the user should know, in a line each."""
        count = len(self.maps)
        if not count:
            return []
        what = "1 grey picture" if count == 1 else f"{count} grey pictures"
        return [f"{self.path}: {what} beside a photo of that name passed over as depth map or mask"]


def list_photos(folder: Path) -> PhotoListing:
    """Lists a folder's photos, without the maps that belong to them; hidden files are left out.

    Photos of a format for which something is missing here are listed too: reading them says so.

    A map is a grey picture that belongs to another picture of the folder. Either it has the other's
    name and another suffix (a PNG or TIFF beside a JPEG, WebP or HEIC, or any beside a picture in
    colour), or it is called after it: NAME_depth, NAME_disparity, NAME_mask and the like, where
    there is a NAME or a NAME_something. A grey picture that stands alone is a photo.

    Args:
        folder: Must be there.
    """
    pictures = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in KNOWN_SUFFIXES
        and not path.name.startswith(".")
        and path.is_file()
    )
    named = defaultdict(list)
    for path in pictures:
        named[path.stem].append(path)
    names = _names_of_photos(named)
    is_grey = cache(_is_grey)

    def is_map(path: Path) -> bool:
        called = _MAP.fullmatch(path.stem)
        if called and called[1] in names:
            return is_grey(path)
        twins = [twin for twin in named[path.stem] if twin != path]
        if not twins or not is_grey(path):
            return False
        lossless = path.suffix.lower() in _LOSSLESS
        return any(
            (lossless and twin.suffix.lower() not in _LOSSLESS) or not is_grey(twin)
            for twin in twins
        )

    maps = {path for path in pictures if is_map(path)}
    return PhotoListing(
        folder,
        [path for path in pictures if path not in maps],
        [path for path in pictures if path in maps],
    )


def _names_of_photos(stems: Collection[str]) -> set[str]:
    """Returns the names that maps may be called after: of DSC_1_sharp, also DSC_1 and DSC."""
    names = set()
    for stem in stems:
        if not _MAP.fullmatch(stem):
            names.add(stem)
            names.update(stem[: found.start()] for found in _SEPARATOR.finditer(stem))
    return names


def _is_grey(path: Path) -> bool:
    """Says whether a picture has one channel, or channels that are alike; False if unreadable."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is wrong with it is told when it is read
            with Image.open(path) as image:
                if image.mode in ("1", "L", "LA", "F") or image.mode.startswith("I"):
                    return True
                image.draft("RGB", (256, 256))  # a JPEG's small version, which is quick
                pixels = np.asarray(image.convert("RGB"), np.int16)
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError):
        return False
    return int(np.ptp(pixels, axis=2).max(initial=0)) <= _GREY_LEVELS
