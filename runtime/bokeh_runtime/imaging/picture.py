"""A decoded photo, and the conversion of its pixels to and from float."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FloatImage = npt.NDArray[np.float32]
Pixels = npt.NDArray[Any]  # uint8 or uint16


@dataclass(frozen=True)
class Photo:
    """A decoded photo: upright, RGB.

    Attributes:
        pixels: uint8 or uint16 [height, width, 3]. A grey photo has three equal channels.
        alpha: [height, width] of the same dtype; None if the photo is opaque.
        grey: Whether the photo is stored with one colour channel.
        icc: ICC profile of `pixels`. None means sRGB.
        exif: EXIF without orientation and thumbnail, as bytes that start with a TIFF header.
        notes: Notes for the user about content that was not kept or was repaired, one line each.
        orientation: EXIF orientation of the file, 1 to 8, which has been applied to `pixels`.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    grey: bool = False
    icc: bytes | None = None
    exif: bytes | None = None
    notes: tuple[str, ...] = ()
    orientation: int = 1


def to_unit(pixels: Pixels) -> FloatImage:
    """Converts unsigned integers to float32 in [0, 1], dividing by the maximum of their dtype."""
    return np.asarray(pixels / np.float32(np.iinfo(pixels.dtype).max), np.float32)


def as_float(image: Any) -> FloatImage:
    """Converts to float32. For the results of OpenCV, whose type stubs do not give the dtype."""
    return np.asarray(image, np.float32)


def from_unit(image: FloatImage, dtype: np.dtype[Any]) -> Pixels:
    """Converts floats in [0, 1] to unsigned integers of `dtype`, clipping and rounding them."""
    max_value = np.iinfo(dtype).max
    return np.asarray(np.rint(np.clip(image, 0, 1) * np.float32(max_value)), dtype)


def apply_orientation(pixels: Pixels, orientation: int) -> Pixels:
    """Applies an EXIF orientation, 1 to 8. Other values leave the image as it is."""
    transforms: dict[int, Callable[[Pixels], Pixels]] = {
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: np.swapaxes(p, 0, 1),
        6: lambda p: np.swapaxes(p[::-1], 0, 1),
        7: lambda p: np.swapaxes(p[::-1, ::-1], 0, 1),
        8: lambda p: np.swapaxes(p[:, ::-1], 0, 1),
    }
    return transforms[orientation](pixels) if orientation in transforms else pixels
