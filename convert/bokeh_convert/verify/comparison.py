"""The side-by-side picture of a conversion: photo, full model and each converted file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from bokeh_runtime.imaging.photo import FloatImage, save_photo
from bokeh_runtime.tflite.reference_pack import Reference

AnyScalar = TypeVar("AnyScalar", bound=np.generic)
_GAP_PX = 6
_HEADING_PX = 30
_MAX_ROWS = 4


def save_comparison(
    path: Path, reference: Reference, columns: Sequence[tuple[str, Sequence[FloatImage]]]
) -> None:
    """Writes the picture, with one row for each of the first four photos.

    Args:
        path: A .png or .jpg file.
        reference: The photos and the outputs of the full model.
        columns: Heading and outputs of each converted file; one output per photo, float
            [height, width, 3] in [0, 1].

    Raises:
        InputError: If the file cannot be written.
    """
    height, width = reference.outputs[0].shape[:2]
    photos = [
        cv2.resize(_rgb(pixels[..., :3]), (width, height), interpolation=cv2.INTER_CUBIC)
        / np.float32(255)
        for pixels in reference.inputs
    ]
    all_columns = [("photo", photos), ("full model", reference.outputs), *columns]
    rows = min(_MAX_ROWS, len(photos))
    heading_row = np.hstack([_heading(text, width + _GAP_PX) for text, _ in all_columns])
    picture_rows = [
        np.hstack([_padded(pictures[row]) for _, pictures in all_columns]) for row in range(rows)
    ]
    save_photo(path, np.vstack([heading_row, *picture_rows]))


def _heading(text: str, width: int) -> FloatImage:
    strip = np.full((_HEADING_PX, width, 3), 255, np.uint8)
    font, black = cv2.FONT_HERSHEY_SIMPLEX, (0, 0, 0)
    cv2.putText(strip, text, (4, 21), font, 0.55, black, 1, cv2.LINE_AA)
    return (strip / np.float32(255)).astype(np.float32)


def _rgb(image: npt.NDArray[AnyScalar]) -> npt.NDArray[AnyScalar]:
    """Returns an image of luminance alone as grey RGB, others as they are."""
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image


def _padded(picture: FloatImage) -> FloatImage:
    return np.pad(_rgb(picture), ((0, _GAP_PX), (0, _GAP_PX), (0, 0)), constant_values=1.0)
