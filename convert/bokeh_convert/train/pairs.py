"""Lists the photo pairs of a data set on disk."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

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


def find_pairs(dataset: Path, split: str) -> list[Pair]:
    """Lists the pairs of one split, sorted by name.

    Args:
        dataset: A folder in the layout of EBB! (`train/` and `test/`, each with `original/N.jpg`,
            `original_depth/N.png`, `bokeh/N.jpg`), or a folder with a `pairs.tsv` (columns `name`
            and `split`) and `NAME_sharp.jpg`, `NAME_bokeh.jpg`, `NAME_depth.png`, `NAME_mask.png`.
        split: "train" or "heldout" (`test/` in EBB!).

    Raises:
        ValueError: If the folder has neither layout, `pairs.tsv` cannot be read, or there is no
            pair in that split.
    """
    if split not in SPLITS:
        raise ValueError(f"split '{split}' is unknown; use {' or '.join(SPLITS)}")
    table = dataset / "pairs.tsv"
    if table.is_file():
        pairs = _from_table(table, split)
    elif (dataset / "train" / "original").is_dir():
        pairs = _from_ebb(dataset / ("train" if split == "train" else "test"))
    else:
        raise ValueError(
            f"{dataset}: has neither pairs.tsv nor train/original/; "
            "give a folder in the layout of EBB! or one with a pairs.tsv"
        )
    if not pairs:
        raise ValueError(f"{dataset}: has no pairs in the split '{split}'; check the data set")
    return pairs


def _from_table(table: Path, split: str) -> list[Pair]:
    try:
        with table.open(encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines, delimiter="\t"))
        names = [row["name"] for row in rows if row["split"] == split]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{table}: cannot be read ({error}); check the file") from error
    except KeyError as error:
        raise ValueError(
            f"{table}: has no column {error}; add the columns name and split"
        ) from error
    folder = table.parent
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
    return [
        Pair(
            sharp.stem,
            sharp,
            folder / "bokeh" / sharp.name,
            _existing(folder / "original_depth" / f"{sharp.stem}.png"),
            None,
        )
        for sharp in sorted((folder / "original").glob("*.jpg"))
        if (folder / "bokeh" / sharp.name).is_file()
    ]


def _existing(path: Path) -> Path | None:
    return path if path.is_file() else None
