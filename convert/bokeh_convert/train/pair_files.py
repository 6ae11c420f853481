"""Checks the files of a training run's pairs, before the first step and when a run is resumed."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from bokeh_convert.train.pairs import Pair
from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.depth import open_depth
from bokeh_runtime.imaging.photo import read_photo

_NAMES, _SIZES = "pair_names", "pair_sizes"
"""Keys of a checkpoint."""
_MOST_CHANGED = 0.5
"""Share of the pairs that may have a file of another size, since some files were repaired."""


def refuse_unusable(pairs: Sequence[Pair], *, depth: bool, masks: bool) -> None:
    """Checks that pairs have depth maps, if these are needed, and that their files are images.

    Reads the headers alone, which takes a second for thousands of files. Damage further inside of a
    file shows when the file is read.

    Args:
        pairs: The pairs.
        depth: Whether depth maps are needed.
        masks: Whether masks are read, where there are any.

    Raises:
        InputError: If a depth map is missing, or a file cannot be read. It names the first one, and
            says how many more there are.
    """
    lacking = [pair.sharp for pair in pairs if depth and pair.depth is None]
    if lacking:
        raise InputError(
            f"{lacking[0]}{_and_more(lacking)}: no depth map, and the model takes depth; "
            "add depth maps"
        )
    faults = []
    for pair in pairs:
        used: list[tuple[Path, Callable[[Path], object]]]
        used = [(pair.sharp, read_photo), (pair.bokeh, read_photo)]
        used += [(path, open_depth) for path in (pair.depth,) if depth and path]
        used += [(path, open_depth) for path in (pair.mask,) if masks and path]
        faults += [fault for path, read in used if (fault := _fault(path, read)) is not None]
    if faults:
        raise InputError(faults[0], _and_more(faults))


def _and_more(found: Sequence[Any]) -> str:
    return "" if len(found) == 1 else f" (and {len(found) - 1} more)"


def _fault(path: Path, read: Callable[[Path], object]) -> InputError | None:
    """Returns why a file cannot be read; None if its header is that of an image."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large photos, which are no fault
            with Image.open(path):
                return None
    except Exception:  # Pillow may raise any error, also for files that others read
        try:
            read(path)
        except InputError as error:
            return error
        return None


@dataclass(frozen=True)
class PairFiles:
    """By what a resumed run knows its pairs.

    The names have to be the same, and the sizes of most files, so that a damaged one can be
    replaced. Hashing the contents would take too long.

    Attributes:
        names: Hash of the names of the pairs and of their files.
        sizes: int64 [pairs, 4], in bytes, of photo, target, depth map and mask; -1 if missing.
    """

    names: str
    sizes: npt.NDArray[np.int64]

    @staticmethod
    def of(pairs: Sequence[Pair]) -> PairFiles:
        """Returns that of pairs."""
        every = [(pair.sharp, pair.bokeh, pair.depth, pair.mask) for pair in pairs]
        names = [
            [pair.name, *(path and path.name for path in files)]
            for pair, files in zip(pairs, every, strict=True)
        ]
        sizes = [[-1 if path is None else path.stat().st_size for path in files] for files in every]
        digest = hashlib.sha256(json.dumps(names).encode()).hexdigest()
        return PairFiles(digest, np.array(sizes, np.int64))

    @property
    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What a checkpoint stores."""
        return {_NAMES: np.array(self.names), _SIZES: self.sizes}

    def refuse_others(self, path: Path, saved: Mapping[str, Any]) -> None:
        """Checks that these are the pairs of a checkpoint. Older checkpoints do not say theirs.

        Args:
            path: The checkpoint, for the error message.
            saved: Its arrays.

        Raises:
            InputError: If not.
        """
        if _NAMES not in saved:
            return
        same = str(saved[_NAMES]) == self.names
        if not same or np.mean((saved[_SIZES] != self.sizes).any(axis=1)) > _MOST_CHANGED:
            raise InputError(
                f"{path}: was trained on other pairs; use the same pairs or another folder"
            )
