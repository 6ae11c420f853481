"""Walks a folder and its subfolders, and tells photos from the other files in it by their names."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from bokeh_runtime.imaging.photo import KNOWN_SUFFIXES

RENDER_RECORD = ".bokeh-render.json"
"""The file in each folder of results of `bokeh-render`."""
RESULT_SUFFIX = ".bokeh.jpg"
"""What follows the photo's name in that of a result beside it."""
PHOTOS, DEPTH_MAPS, TARGETS = "original", "original_depth", "bokeh"
"""The folders of the EBB! data set: sharp photos, their depth maps, and photos with real bokeh."""

_KINDS = {
    "video": (
        *(".mp4", ".mov", ".m4v", ".3gp", ".3g2", ".avi", ".mkv", ".webm", ".mts", ".m2ts"),
        *(".mp", ".lrv", ".insv", ".mpg", ".mpeg", ".wmv"),
    ),
    "sidecar": (
        *(".aae", ".xmp", ".thm", ".json", ".pp3", ".dop", ".xml", ".on1", ".cos", ".ctg"),
    ),
    "depth map": (".npy", ".pfm"),
    "raw photo": (
        *(".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".orf"),
        *(".rw2", ".raf", ".pef", ".srw", ".raw", ".rwl", ".3fr", ".iiq", ".x3f", ".gpr"),
    ),
}
_KIND_OF_SUFFIX = {suffix: kind for kind, suffixes in _KINDS.items() for suffix in suffixes}
_TRASHED = re.compile(r"\.(?:trashed|pending)-", re.IGNORECASE)  # as Android's gallery names them
_THUMBNAILS = re.compile(r"\.?(?:thumbnails?|thumbs|thumbdata.*)|@eadir", re.IGNORECASE)
_SYSTEM_FOLDER = re.compile(
    r"\..*|\$recycle\.bin|system volume information|__macosx", re.IGNORECASE
)


@dataclass(frozen=True)
class ImageFolder:
    """The images in one folder, without those of its subfolders.

    Attributes:
        path: The folder.
        images: Its files with the suffix of a photo, sorted by name.
    """

    path: Path
    images: list[Path]


def is_paired_layout(folder: Path) -> bool:
    """Whether a folder has the layout of a part of EBB!: `original/` with targets or depth maps."""
    others = (TARGETS, DEPTH_MAPS)
    return (folder / PHOTOS).is_dir() and any((folder / name).is_dir() for name in others)


def walk(
    folder: Path, skipped: Counter[str], exclude: Collection[Path] = ()
) -> Iterator[ImageFolder]:
    """Yields a folder and its subfolders, sorted by path.

    Links to folders are followed, each folder is visited once. Hidden folders, thumbnails, results
    of `bokeh-render`, and the targets and depth maps of a data set in the layout of EBB! are not
    visited.

    Args:
        folder: The folder. It is visited whatever its name is.
        skipped: Counts the files and folders that are left out, by kind, such as "video".
        exclude: Folders that are not visited and not counted, unless one is `folder` itself.
    """
    visited = {_identity(path) for path in exclude if path.is_dir()} - {_identity(folder)}
    pending = [folder]
    while pending:
        path = pending.pop()
        identity = _identity(path)
        if identity in visited:
            continue
        visited.add(identity)
        folders, images = [], []
        for entry in sorted(path.iterdir(), key=lambda entry: entry.name):
            if entry.is_dir():
                folders.append(entry)
            elif (kind := _kind_of_file(entry)) == "image":
                images.append(entry)
            elif kind is not None:
                skipped[kind] += 1
        stems = {image.stem for image in images}
        results = {image for image in images if _is_result(image, stems)}
        skipped["earlier result"] += len(results)
        yield ImageFolder(path, [image for image in images if image not in results])
        paired = is_paired_layout(path)
        for entry in reversed(folders):
            if _identity(entry) in visited:
                continue
            if paired and entry.name in (TARGETS, DEPTH_MAPS):
                kind = "target" if entry.name == TARGETS else "depth map"
                skipped[kind] += _image_count(entry)
            elif (kind := _kind_of_folder(entry)) is not None:
                skipped[kind] += 1
            else:
                pending.append(entry)


def counted(skipped: Counter[str]) -> list[str]:
    """Returns the counts with their kinds: "2 videos", "1 sidecar"; the most frequent first."""
    return [
        f"{count} {kind}{'' if count == 1 else 's'}"
        for kind, count in sorted(skipped.items(), key=lambda item: (-item[1], item[0]))
        if count
    ]


def _kind_of_file(path: Path) -> str | None:
    """Returns "image" for what may be a photo, None for what is not worth a note."""
    if path.name == RENDER_RECORD:
        return None
    if _TRASHED.match(path.name):
        return "trashed file"
    if path.name.startswith("."):
        return "hidden file"
    suffix = path.suffix.lower()
    if suffix not in KNOWN_SUFFIXES:
        return _KIND_OF_SUFFIX.get(suffix, "other file")
    return "image" if path.is_file() else "other file"


def _is_result(path: Path, stems: Collection[str]) -> bool:
    """Whether an image is what `bokeh-render` wrote beside the photo that it was rendered from."""
    return path.name.endswith(RESULT_SUFFIX) and path.name.removesuffix(RESULT_SUFFIX) in stems


def _kind_of_folder(path: Path) -> str | None:
    """Returns the kind of a folder that is left out; None for one to visit."""
    if _THUMBNAILS.fullmatch(path.name):
        return "thumbnails folder"
    if _SYSTEM_FOLDER.fullmatch(path.name):
        return "hidden folder"
    return "results folder" if (path / RENDER_RECORD).is_file() else None


def _image_count(folder: Path) -> int:
    return sum(_kind_of_file(path) == "image" for path in folder.iterdir() if not path.is_dir())


def _identity(folder: Path) -> str:
    return os.path.realpath(folder)
