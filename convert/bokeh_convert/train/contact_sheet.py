"""A picture that shows images of several photos side by side, one row for each photo."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from bokeh_convert.train.overwriting import refuse_overwriting
from bokeh_runtime.atomic_output import AtomicOutput
from bokeh_runtime.imaging.photo import (
    FloatImage,
    Photo,
    Pixels,
    from_unit,
    refuse_unwritable,
    write_photo,
)
from bokeh_runtime.imaging.resample import fit

MOST_ROWS = 24
"""Rows of a sheet. More would fill the memory: one is about 14 MB for photos of 1024 px."""


class ContactSheet:
    """Rows of images, of which the first `MOST_ROWS` are kept, with 8 bits.

    Args:
        path: File of the sheet.
        inputs: Files that are read before the sheet is written.

    Raises:
        InputError: If the sheet could not be written: its suffix is unknown, its folder is missing
            or read-only, or it is one of `inputs`.
    """

    def __init__(self, path: Path, inputs: Iterable[Path] = ()) -> None:
        refuse_unwritable(path)
        refuse_overwriting([path], inputs)
        with AtomicOutput(path.parent):
            pass  # checks that the folder can be written to
        self._path = path
        self._rows: list[Pixels] = []

    def add(self, images: Sequence[FloatImage]) -> None:
        """Adds a row, resized to the size of the first one, unless the sheet is full.

        Args:
            images: float [height, width, 3] in [0, 1], all of one size.
        """
        if len(self._rows) == MOST_ROWS:
            return
        row = np.hstack(images)
        if self._rows:
            row = fit(row, *self._rows[0].shape[:2])
        self._rows.append(from_unit(row, np.dtype(np.uint8)))

    def save(self) -> None:
        """Writes the sheet, in two columns.

        Raises:
            InputError: If it cannot be written.
        """
        rows = [np.pad(row, ((2, 2), (4, 4), (0, 0))) for row in self._rows]
        if len(rows) % 2:
            rows.append(np.zeros_like(rows[0]))
        pixels = np.vstack([np.hstack(rows[i : i + 2]) for i in range(0, len(rows), 2)])
        write_photo(self._path, Photo(pixels))
