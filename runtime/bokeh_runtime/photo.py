"""Opens photos as a camera app shows them, and fits them to a network's input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from bokeh_runtime.errors import InputError

FloatImage = npt.NDArray[np.float32]
_Pixels = npt.NDArray[Any]

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


def open_photo(path: Path) -> FloatImage:
    """Reads a photo as float [height, width, 3], RGB, in [0, 1].

    JPEG, PNG and WebP of 8 or 16 bits; EXIF orientation is applied, alpha dropped, grey repeated.

    Raises:
        InputError: If the file is missing or does not decode.
    """
    pixels = _decode(path, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    return _to_unit(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))


def open_depth(path: Path) -> FloatImage:
    """Reads a depth map of 8 or 16 bits as float [height, width, 1] in [0, 1].

    Raises:
        InputError: If the file is missing or does not decode.
    """
    pixels = _decode(path, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
    return _to_unit(pixels)[..., np.newaxis]


def save_photo(path: Path, image: FloatImage) -> None:
    """Writes float [height, width, 3], RGB, in [0, 1], in the format that the suffix names.

    Raises:
        InputError: If the suffix names no format, or the file cannot be written.
    """
    pixels = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
    try:
        good, encoded = cv2.imencode(path.suffix, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    except cv2.error:
        good = False
    if not good:
        raise InputError(f"{path}: no picture format of that suffix; use .png or .jpg")
    try:
        path.write_bytes(encoded.tobytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); choose another") from error


def fit(image: FloatImage, height: int, width: int) -> FloatImage:
    """Scales a picture until it covers `height` x `width`, and cuts the middle out.

    By area where it shrinks (as the demo model was trained), bicubic where it grows.

    Args:
        image: [any height, any width, channels], in [0, 1].
        height: Of the result, in pixels.
        width: Of the result, in pixels.

    Returns:
        [height, width, channels], in [0, 1].
    """
    factor = max(height / image.shape[0], width / image.shape[1])
    rows = max(height, round(image.shape[0] * factor))
    columns = max(width, round(image.shape[1] * factor))
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    # A single channel loses its axis in OpenCV.
    scaled = cv2.resize(image, (columns, rows), interpolation=method).reshape(rows, columns, -1)
    top, left = (rows - height) // 2, (columns - width) // 2
    cut = scaled[top : top + height, left : left + width]
    return np.ascontiguousarray(np.clip(cut, 0, 1), dtype=np.float32)


def _decode(path: Path, flags: int) -> _Pixels:
    try:
        # Not cv2.imread: on some systems it cannot open names outside the local code page.
        content = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    pixels = cv2.imdecode(content, flags) if content.size else None
    if pixels is None or pixels.dtype.kind != "u":
        raise InputError(f"{path}: does not decode as a picture; give a JPEG, PNG or WebP file")
    return np.asarray(pixels, dtype=pixels.dtype)


def _to_unit(pixels: _Pixels) -> FloatImage:
    return np.asarray(pixels / np.float32(np.iinfo(pixels.dtype).max), np.float32)
