"""Lists the photo pairs of a data set on disk."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.depth_lookup import find_depth_map
from bokeh_runtime.imaging.folder_walk import PHOTOS, TARGETS
from bokeh_runtime.imaging.folders import PhotoListing, list_photos
from bokeh_runtime.imaging.photo import KNOWN_SUFFIXES

SPLITS = ("train", "heldout")


@dataclass(frozen=True)
class Pair:
    """The files of one scene.

    Attributes:
        name: Name of the scene.
        sharp: Photo with everything in focus, the network input.
        bokeh: Photo with a blurred background, the target.
        depth: Depth map; None if the data set has none.
        mask: Mask of the subject, white inside; None if the data set has none.
    """

    name: str
    sharp: Path
    bokeh: Path
    depth: Path | None
    mask: Path | None

    @property
    def files(self) -> list[Path]:
        """All files of the scene."""
        every = (self.sharp, self.bokeh, self.depth, self.mask)
        return [path for path in every if path is not None]


def find_pairs(dataset: Path, split: str) -> list[Pair]:
    """Lists the pairs of one split, sorted by name.

    Args:
        dataset: A folder in the layout of EBB! (`train/` and `test/`, each with `original/N.jpg`,
            `original_depth/N.png`, `bokeh/N.jpg`), one with these three folders directly, or a
            folder with a `pairs.tsv` (columns `name` and `split`) and `NAME_sharp.jpg`,
            `NAME_bokeh.jpg`, `NAME_depth.png`, `NAME_mask.png`.
        split: "train" or "heldout" (`test/` in EBB!). A folder without `train/` and `test/` gives
            the same pairs for both.

    Raises:
        InputError: If the folder is missing or has none of these layouts, `pairs.tsv` cannot be
            read, `test/` or `train/` is missing, or there is no pair in that split.
    """
    if split not in SPLITS:
        raise ValueError(f"split '{split}' is unknown; use {' or '.join(SPLITS)}")
    table = dataset / "pairs.tsv"
    is_table = table.is_file()
    pairs = _from_table(table, split) if is_table else _from_ebb(_ebb_folder(dataset, split))
    if not pairs:
        raise InputError(f"{dataset}: has no pairs in the split '{split}'; check the data set")
    return pairs


def notes_on_skipped(dataset: Path, split: str) -> list[str]:
    """Returns notes on the files that are not in the pairs of a split, counted by kind.

    An unpaired photo is one without a target.

    Args:
        dataset: See `find_pairs`. A table names its files, so that none is skipped.
        split: "train" or "heldout".

    Raises:
        InputError: As for `find_pairs`.
    """
    if (dataset / "pairs.tsv").is_file():
        return []
    folder = _ebb_folder(dataset, split)
    found = list_photos(folder)
    used = ("depth map", "target")
    skipped = {kind: count for kind, count in found.skipped.items() if kind not in used}
    targets = {path.stem for path in _photos(folder / TARGETS)}
    skipped["unpaired photo"] = sum(photo.stem not in targets for photo in _photos(folder / PHOTOS))
    return PhotoListing(folder, found.photos, found.skipped_maps, skipped).notes


def _ebb_folder(dataset: Path, split: str) -> Path:
    """Returns the folder of a split in the layout of EBB!, which holds `original/`."""
    if not dataset.is_dir():
        raise InputError(f"{dataset}: no such folder; check the path")
    name, other = ("train", "test") if split == "train" else ("test", "train")
    if (dataset / name / PHOTOS).is_dir():
        return dataset / name
    if (dataset / other / PHOTOS).is_dir():
        raise InputError(
            f"{dataset}: {name}/ is missing; add {name}/{PHOTOS} and {name}/{TARGETS}, "
            f"or give {dataset / other} to use the pairs of {other}/"
        )
    if (dataset / PHOTOS).is_dir():
        return dataset
    raise InputError(
        f"{dataset}: has neither pairs.tsv nor train/original/ nor original/; "
        "give a folder in the layout of EBB! or one with a pairs.tsv"
    )


def _from_table(table: Path, split: str) -> list[Pair]:
    try:
        with table.open(encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines, delimiter="\t"))
        names = [row["name"] for row in rows if row["split"] == split]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{table}: cannot be read ({error}); check the file") from error
    except KeyError as error:
        raise InputError(
            f"{table}: has no column {error}; add the columns name and split"
        ) from error
    folder = table.parent
    for name in names:
        for path in (folder / f"{name}_sharp.jpg", folder / f"{name}_bokeh.jpg"):
            if not path.is_file():
                raise InputError(f"{table}: names {name}, and {path} is missing; add the photo")
    return [
        Pair(
            name,
            folder / f"{name}_sharp.jpg",
            folder / f"{name}_bokeh.jpg",
            _existing(folder / f"{name}_depth.png"),
            _existing(folder / f"{name}_mask.png"),
        )
        for name in sorted(names)
    ]


def _from_ebb(folder: Path) -> list[Pair]:
    targets = {path.stem: path for path in _photos(folder / TARGETS)}
    return [
        Pair(sharp.stem, sharp, targets[sharp.stem], find_depth_map(sharp), None)
        for sharp in _photos(folder / PHOTOS)
        if sharp.stem in targets
    ]


def _photos(folder: Path) -> list[Path]:
    """Returns the photos of a folder, sorted by name; none if there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in KNOWN_SUFFIXES and not path.name.startswith(".")
    )


def _existing(path: Path) -> Path | None:
    return path if path.is_file() else None
