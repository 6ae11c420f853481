"""Finds the depth map file that belongs to a photo by its name and folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bokeh_runtime.imaging.depth_files import DEPTH_SUFFIXES, RAW_SUFFIXES
from bokeh_runtime.imaging.folder_walk import DEPTH_MAPS, PHOTOS
from bokeh_runtime.imaging.folders import is_grey

_ENDINGS = ("", "_depth", "-depth", ".depth", " depth", "_disparity", "_disp", "_depth_map")
_SHARP = "_sharp"


def find_depth_map(photo: Path) -> Path | None:
    """Finds the depth map of a photo beside it.

    For `folder/NAME.jpg` these are tried, in this order, with each suffix of `DEPTH_SUFFIXES`:

    - `folder_depth/NAME.png`, as in EBB!, whose photos are in `original/` and whose depth maps are
      in `original_depth/`
    - `folder/NAME.png`, `folder/NAME_depth.png`, `folder/NAME_disparity.png` and the like. An image
      with colours is no depth map.
    - `folder/depth/NAME.png`

    Returns:
        The path of the file, or None if there is none.
    """
    folder = photo.parent
    beside = (folder.with_name(f"{folder.name}_depth"),) if folder.name else ()
    for path in _existing(beside, _names(photo)):
        return path
    for path in _existing((folder, folder / "depth"), _names(photo)):
        if path != photo and (path.suffix.lower() in RAW_SUFFIXES or is_grey(path)):
            return path
    return None


def depth_map_in(folder: Path, photo: Path, photos: Path) -> Path:
    """Returns the depth map of a photo in a folder of depth maps; the expected path if missing.

    Args:
        folder: The folder of depth maps.
        photo: Path of the photo. A photo in a subfolder of `photos` has its map in the subfolder of
            that name in `folder`; one in `original/` in `original_depth/` or `original/`.
        photos: The folder of photos.
    """
    subfolder = photo.parent.relative_to(photos)
    parents = [folder / subfolder]
    if subfolder.name == PHOTOS:
        parents.insert(0, folder / subfolder.with_name(DEPTH_MAPS))
    expected = parents[-1] / f"{photo.stem}{DEPTH_SUFFIXES[0]}"
    existing = (path for path in _existing(parents, _names(photo)) if path != photo)
    return next(existing, expected)


def _names(photo: Path) -> list[str]:
    names = [f"{photo.stem}{ending}" for ending in _ENDINGS]
    if photo.stem.endswith(_SHARP):  # NAME_sharp.jpg and NAME_depth.png
        scene = photo.stem.removesuffix(_SHARP)
        names += [f"{scene}{ending}" for ending in _ENDINGS[1:]]
    return names


def _existing(folders: tuple[Path, ...] | list[Path], names: list[str]) -> Iterator[Path]:
    for folder in folders:
        if folder.is_dir():
            for name in names:
                for suffix in DEPTH_SUFFIXES:
                    path = folder / f"{name}{suffix}"
                    if path.is_file():
                        yield path
