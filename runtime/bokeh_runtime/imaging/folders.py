"""Lists the photos of a folder without the depth maps, masks and other files that are in it."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.folder_walk import ImageFolder, counted, walk
from bokeh_runtime.imaging.formats import check_size, identify, pillow_warnings_ignored

_LOSSLESS_SUFFIXES = (".png", ".tif", ".tiff")
_MAP_WORDS = r"(?:depth(?:[ _-]?maps?)?|disparit(?:y|ies)|disp|masks?|mattes?|segmentation|seg)"
_MAP_NAME = re.compile(rf"(.+?)[ _.-]{_MAP_WORDS}", re.IGNORECASE)
_MAP_FOLDER = re.compile(rf"(?:.+[ _.-])?{_MAP_WORDS}", re.IGNORECASE)
_STRIP_ROWS = 256
_SEPARATOR = re.compile(r"[ _.-]")
_MAX_GREY_DIFFERENCE = 4
"""Largest difference between the channels of a grey JPEG after its YCbCr conversion, of 255."""


@dataclass(frozen=True)
class PhotoListing:
    """The images of a folder and its subfolders.

    Attributes:
        path: Path of the folder.
        photos: Paths of the photos, sorted by folder and name.
        skipped_maps: Paths of depth maps and masks, sorted by folder and name.
        skipped: Number of other files and folders that were left out, by kind, such as "video".
    """

    path: Path
    photos: Sequence[Path]
    skipped_maps: Sequence[Path]
    skipped: Mapping[str, int] = field(default_factory=dict)

    @property
    def notes(self) -> list[str]:
        """Notes for the user, one line each: what was left out."""
        parts = counted(Counter(self.skipped))
        if count := len(self.skipped_maps):
            pictures = "1 grey picture" if count == 1 else f"{count} grey pictures"
            parts.insert(0, f"{pictures} named after a photo (depth maps or masks)")
        return [f"{self.path}: skipped {', '.join(parts)}"] if parts else []


def list_photos(folder: Path, exclude: Collection[Path] = ()) -> PhotoListing:
    """Lists the photos of a folder and its subfolders, without the maps that belong to a photo.

    A map is a grey image that belongs to another image of the folder, by one of these rules:

    - It has the same name and another suffix: a PNG or TIFF next to a JPEG, WebP or HEIC, or any
      grey image next to a colour image.
    - It is called NAME_depth, NAME_disparity, NAME_mask or the like, and there is an image NAME or
      NAME_something.
    - It is in a subfolder called `depth`, `NAME_depth`, `masks` or the like.

    A grey image that belongs to no other is a photo. In the layout of EBB!, only the images in
    `original/` are photos. Photos in formats whose decoder is not installed are listed too; reading
    them raises an error that names the missing package. Hidden files and folders, thumbnails,
    videos, sidecars and results of `bokeh-render`, also those beside their photos, are left out and
    counted.

    Args:
        folder: An existing folder.
        exclude: Subfolders that are left out without being counted.

    Raises:
        InputError: If a folder cannot be read.
    """
    skipped = Counter[str]()
    photos: list[Path] = []
    maps: list[Path] = []
    try:
        for visited in walk(folder, skipped, exclude):
            found = _maps_of(visited, is_map_folder=_is_map_folder(visited.path, folder))
            maps += [path for path in visited.images if path in found]
            photos += [path for path in visited.images if path not in found]
    except OSError as error:
        raise InputError(
            f"{error.filename or folder}: cannot be read ({error.strerror}); check its permissions"
        ) from error
    return PhotoListing(folder, photos, maps, dict(skipped))


def is_grey(path: Path) -> bool:
    """Returns whether an image has one channel or equal channels; False if it is unreadable."""
    try:
        with pillow_warnings_ignored(), identify(path.read_bytes()) as image:
            if image.mode in ("1", "L", "LA", "F") or image.mode.startswith("I"):
                return True
            check_size(*image.size)
            image.draft("RGB", (256, 256))  # decodes a JPEG at reduced size, which is fast
            return all(_is_grey_strip(strip) for strip in _strips(image))
    except Exception:  # a decoder may raise any error; read_photo reports what is wrong with a file
        return False


def _strips(image: Image.Image) -> Iterator[Image.Image]:
    """Splits an image, since it would need much more memory as a whole in `_is_grey_strip`."""
    width, height = image.size
    for top in range(0, height, _STRIP_ROWS):
        yield image.crop((0, top, width, min(top + _STRIP_ROWS, height)))


def _is_grey_strip(strip: Image.Image) -> bool:
    pixels = np.asarray(strip.convert("RGB"), np.int16)
    return int(np.ptp(pixels, axis=2).max(initial=0)) <= _MAX_GREY_DIFFERENCE


def _is_map_folder(path: Path, root: Path) -> bool:
    return path != root and _MAP_FOLDER.fullmatch(path.name) is not None


def _maps_of(folder: ImageFolder, *, is_map_folder: bool) -> set[Path]:
    """Returns the images of a folder that are depth maps or masks; see `list_photos`."""
    by_stem = defaultdict(list)
    for path in folder.images:
        by_stem[path.stem].append(path)
    names = _names_of_photos(by_stem)
    grey = cache(is_grey)

    def is_map(path: Path) -> bool:
        if is_map_folder and grey(path):
            return True
        match = _MAP_NAME.fullmatch(path.stem)
        if match and match[1] in names:
            return grey(path)
        same_stem = [twin for twin in by_stem[path.stem] if twin != path]
        if not same_stem or not grey(path):
            return False
        lossless = path.suffix.lower() in _LOSSLESS_SUFFIXES
        return any(
            (lossless and twin.suffix.lower() not in _LOSSLESS_SUFFIXES) or not grey(twin)
            for twin in same_stem
        )

    return {path for path in folder.images if is_map(path)}


def _names_of_photos(stems: Collection[str]) -> set[str]:
    """Returns the names that maps may start with: for DSC_1_sharp, also DSC_1 and DSC."""
    names = set()
    for stem in stems:
        if not _MAP_NAME.fullmatch(stem):
            names.add(stem)
            names.update(stem[: found.start()] for found in _SEPARATOR.finditer(stem))
    return names
