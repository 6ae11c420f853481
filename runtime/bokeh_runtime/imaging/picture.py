"""A photo in memory, and its pixels as numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FloatImage = npt.NDArray[np.float32]
Pixels = npt.NDArray[Any]  # uint8 or uint16


@dataclass(frozen=True)
class Photo:
    """A photo as it is shown: upright, RGB.

    Attributes:
        pixels: uint8 or uint16 [height, width, 3]; grey is repeated.
        alpha: [height, width] of the same type, if the file has it.
        grey: The file has one channel; so will a file written from this.
        icc: Colour profile of `pixels`; None means sRGB.
        exif: EXIF without orientation and thumbnail, as bytes that begin with a TIFF header.
        notes: What of the file is not here, or was mended, in a line each, for the user.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    grey: bool = False
    icc: bytes | None = None
    exif: bytes | None = None
    notes: tuple[str, ...] = ()


def to_unit(pixels: Pixels) -> FloatImage:
    """Scales unsigned integers to [0, 1] by the largest value of their type."""
    return np.asarray(pixels / np.float32(np.iinfo(pixels.dtype).max), np.float32)


def as_float(image: Any) -> FloatImage:
    """Returns what an OpenCV call returned as what it is; its own types say "any number"."""
    return np.asarray(image, np.float32)


def from_unit(image: FloatImage, dtype: np.dtype[Any]) -> Pixels:
    """Scales [0, 1] to the unsigned integers of `dtype`, rounded; values outside are clipped."""
    top = np.iinfo(dtype).max
    return np.asarray(np.rint(np.clip(image, 0, 1) * np.float32(top)), dtype)
