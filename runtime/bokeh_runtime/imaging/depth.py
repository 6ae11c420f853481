"""Reads, normalizes and resizes depth maps."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np

from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.photo import FloatImage, as_float, read_photo, to_unit

_RANGE_TOLERANCE = 1e-3  # resizing with cubic filters may overshoot [0, 1]
DEPTH_SUFFIXES = (".png", ".pfm", ".tif", ".tiff", ".jpg", ".jpeg", ".webp")


def open_depth(path: Path) -> FloatImage:
    """Reads a depth map: inverse depth, near is bright.

    8-bit and 16-bit values are divided by their largest possible value, as in training. PFM values
    (https://www.pauldebevec.com/Research/HDR/PFM/) are normalized, see `normalize_depth`.

    Returns:
        float32 [height, width, 1] in [0, 1].

    Raises:
        InputError: If the file is missing, cannot be decoded, or is a colour image.
    """
    if path.suffix.lower() == ".pfm":
        return normalize_depth(_read_pfm(path))
    photo = read_photo(path)
    if not photo.grey and np.ptp(photo.pixels, axis=2).any():
        raise InputError(
            f"{path}: a depth map has one channel, but this is a colour image; give a grey one"
        )
    return np.ascontiguousarray(to_unit(photo.pixels[..., :1]))


def normalize_depth(depth: FloatImage) -> FloatImage:
    """Scales inverse depth linearly, so that its smallest value is 0 and its largest is 1.

    Args:
        depth: float [height, width, 1], near is large, in any range.

    Returns:
        float32 of the same shape in [0, 1]. Values that are not finite become 0 (far), and so does
        a map of a single value.
    """
    finite = np.isfinite(depth)
    if not finite.any():
        return np.zeros(depth.shape, np.float32)
    low, high = float(depth[finite].min()), float(depth[finite].max())
    if high == low:
        return np.zeros(depth.shape, np.float32)
    # float64, since files use the largest float32 for "unknown", and the difference would overflow.
    scaled = (np.where(finite, depth, low).astype(np.float64) - low) / (high - low)
    return scaled.astype(np.float32)


def resize_depth(depth: FloatImage, height: int, width: int) -> FloatImage:
    """Resizes a depth map, with area interpolation to fewer pixels and linear to more.

    Args:
        depth: Inverse depth, float [any height, any width, 1] or [any height, any width], in
            [0, 1]. Values that are not finite count as 0 (far).
        height: Height of the result in pixels.
        width: Width of the result in pixels.

    Returns:
        float32 [height, width, 1].

    Raises:
        InputError: If `depth` has another shape or dtype, or values outside [0, 1].
    """
    depth = _checked(depth)
    is_downscaled = height * width < depth.shape[0] * depth.shape[1]
    method = cv2.INTER_AREA if is_downscaled else cv2.INTER_LINEAR
    scaled = cv2.resize(depth, (width, height), interpolation=method)
    return as_float(scaled).reshape(height, width, 1)


def _checked(depth: FloatImage) -> FloatImage:
    values = np.asarray(depth)
    if values.ndim not in (2, 3) or values.shape[2:] not in ((), (1,)) or 0 in values.shape:
        raise InputError(
            f"a depth map must be [height, width, 1], not {list(values.shape)}; reshape it"
        )
    if values.dtype.kind != "f":
        raise InputError(
            f"a depth map must be float in [0, 1], not {values.dtype}; divide and cast it"
        )
    finite = as_float(np.where(np.isfinite(values), values, 0))
    if finite.min() < -_RANGE_TOLERANCE or finite.max() > 1 + _RANGE_TOLERANCE:
        raise InputError(
            f"a depth map must be in [0, 1], not {finite.min():g} to {finite.max():g}; "
            "scale it with bokeh_runtime.imaging.depth.normalize_depth"
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
        raise InputError(f"{path}: not a PFM file with one channel; give one that begins with Pf")
    width, height = int(header[2]), int(header[3])
    order = "<" if float(header[4]) < 0 else ">"
    values = content[header.end() :]
    if width * height == 0 or len(values) != width * height * 4:
        raise InputError(
            f"{path}: damaged or truncated (size does not match its header); copy it again"
        )
    rows = np.frombuffer(values, f"{order}f4").reshape(height, width, 1)
    return np.ascontiguousarray(rows[::-1], np.float32)  # PFM stores rows from bottom to top
