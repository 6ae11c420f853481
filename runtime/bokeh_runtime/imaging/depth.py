"""Depth maps: read from files, scaled and stretched."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np

from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.photo import FloatImage, as_float, read_photo, to_unit

_TOLERANCE = 1e-3  # of depth maps that were scaled before, which may overshoot
DEPTH_SUFFIXES = (".png", ".pfm", ".tif", ".tiff", ".jpg", ".jpeg", ".webp")


def open_depth(path: Path) -> FloatImage:
    """Reads a depth map as float [height, width, 1] in [0, 1]: inverse depth, near is bright.

    8 and 16 bits are divided by their largest value, as in training; PFM
    (https://www.pauldebevec.com/Research/HDR/PFM/) is stretched to its own range.

    Raises:
        InputError: If the file is missing, does not decode, or is in colour.
    """
    if path.suffix.lower() == ".pfm":
        return normalize_depth(_read_pfm(path))
    photo = read_photo(path)
    if not photo.grey and np.ptp(photo.pixels, axis=2).any():
        raise InputError(f"{path}: a depth map has one channel; this is a colour picture")
    return np.ascontiguousarray(to_unit(photo.pixels[..., :1]))


def normalize_depth(depth: FloatImage) -> FloatImage:
    """Stretches inverse depth [height, width, 1] to [0, 1].

    What is not finite becomes 0, which is far; so does a flat map.
    """
    finite = np.isfinite(depth)
    if not finite.any():
        return np.zeros(depth.shape, np.float32)
    low, high = float(depth[finite].min()), float(depth[finite].max())
    if high == low:
        return np.zeros(depth.shape, np.float32)
    # In double precision: the largest floats, which files use for "unknown", have no difference.
    stretched = (np.where(finite, depth, low).astype(np.float64) - low) / (high - low)
    return stretched.astype(np.float32)


def resize_depth(depth: FloatImage, height: int, width: int) -> FloatImage:
    """Scales a depth map to `height` x `width` pixels: by area if smaller, linear if larger.

    Args:
        depth: Inverse depth, [any height, any width, 1] or without the last axis, in [0, 1]; what
            is not finite is far.
        height: Of the result, in pixels.
        width: Of the result, in pixels.

    Raises:
        InputError: If it has another shape, or values outside [0, 1].
    """
    depth = _checked(depth)
    shrinks = height * width < depth.shape[0] * depth.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    scaled = cv2.resize(depth, (width, height), interpolation=method)
    return as_float(scaled).reshape(height, width, 1)


def _checked(depth: FloatImage) -> FloatImage:
    values = np.asarray(depth)
    if values.ndim not in (2, 3) or values.shape[2:] not in ((), (1,)) or 0 in values.shape:
        raise InputError(f"a depth map is [height, width, 1], not {list(values.shape)}; reshape it")
    if values.dtype.kind != "f":
        raise InputError(f"a depth map is float in [0, 1], not {values.dtype}; divide and cast it")
    finite = as_float(np.where(np.isfinite(values), values, 0))
    if finite.min() < -_TOLERANCE or finite.max() > 1 + _TOLERANCE:
        raise InputError(
            f"a depth map is in [0, 1], not {finite.min():g} to {finite.max():g}; "
            "bokeh_runtime.imaging.depth.normalize_depth scales it"
        )
    return finite


def _read_pfm(path: Path) -> FloatImage:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    number = rb"-?\d*\.?\d+(?:[eE][-+]?\d+)?"
    header = re.match(rb"(P[fF])\s+(\d{1,9})\s+(\d{1,9})\s+(" + number + rb")\s", content)
    if header is None or header[1] != b"Pf":
        raise InputError(f"{path}: not a PFM file of one channel; give one that begins with Pf")
    width, height = int(header[2]), int(header[3])
    order = "<" if float(header[4]) < 0 else ">"
    values = content[header.end() :]
    if width * height == 0 or len(values) != width * height * 4:
        raise InputError(f"{path}: damaged or cut short (size does not fit); copy it again")
    rows = np.frombuffer(values, f"{order}f4").reshape(height, width, 1)
    return np.ascontiguousarray(rows[::-1], np.float32)  # a PFM begins with its lowest row
