"""Reads, normalizes, turns and resizes depth maps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.depth_files import DEPTH_SUFFIXES, Values, read_raw_values
from bokeh_runtime.imaging.photo import FloatImage, Photo, as_float, read_photo, to_unit
from bokeh_runtime.imaging.picture import apply_orientation

__all__ = [
    "DEPTH_SUFFIXES",
    "DepthMap",
    "align_to_photo",
    "depth_from_values",
    "normalize_depth",
    "open_depth",
    "open_depth_of_photo",
    "read_depth",
    "read_depth_of_photo",
    "resize_depth",
    "stretch_to_photo",
]

_RANGE_TOLERANCE = 1e-3  # resizing with cubic filters may overshoot [0, 1]
_ASPECT_TOLERANCE = 0.1  # maps are often rounded to a multiple of 16 or 32 pixels
_SAME_ASPECT = 0.02
_MILLIMETRE_MAPS_BELOW = 0.2


@dataclass(frozen=True)
class DepthMap:
    """A depth map that was read.

    Attributes:
        values: Inverse depth, float32 [height, width, 1] in [0, 1]; near is 1.
        notes: Notes for the user, one line each.
        is_probably_metric: Whether the values are probably millimetres, so that near is dark. The
            first note says so.
    """

    values: FloatImage
    notes: tuple[str, ...] = ()
    is_probably_metric: bool = False


def read_depth(path: Path, *, far_is_bright: bool = False) -> DepthMap:
    """Reads a depth map: PNG, TIFF, JPEG or WebP with 8 or 16 bits, float TIFF, NPY or PFM.

    See `depth_from_values` for what the values mean.

    Args:
        path: Path of the file.
        far_is_bright: Whether the file stores depth, so that far is bright.

    Raises:
        InputError: If the file is missing, cannot be decoded, has several channels that differ, or
            no finite value.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    with _naming(path):
        values = read_raw_values(path, content)
    if values is None:
        values = _grey_pixels(path)
    with _naming(path):
        return depth_from_values(values, far_is_bright=far_is_bright)


def open_depth(path: Path) -> FloatImage:
    """Reads a depth map or mask as an array; see `read_depth`.

    Returns:
        float32 [height, width, 1] in [0, 1]; near is 1.

    Raises:
        InputError: If the file is missing, cannot be decoded, or is a colour image.
    """
    return read_depth(path).values


def read_depth_of_photo(path: Path, photo: Photo, *, far_is_bright: bool = False) -> DepthMap:
    """Reads the depth map of a photo, turned to the upright photo; see `align_to_photo`.

    Raises:
        InputError: If the file cannot be read, or does not fit the photo.
    """
    depth = read_depth(path, far_is_bright=far_is_bright)
    with _naming(path):
        return align_to_photo(depth, photo)


def open_depth_of_photo(path: Path, photo: Photo) -> FloatImage:
    """Reads the depth map of a photo as an array, turned and stretched to the photo.

    Returns:
        float32 [height, width, 1] in [0, 1] with the photo's aspect ratio; near is 1.

    Raises:
        InputError: If the file cannot be read, or does not fit the photo.
    """
    return stretch_to_photo(read_depth_of_photo(path, photo), photo)


def stretch_to_photo(depth: DepthMap, photo: Photo) -> FloatImage:
    """Returns the values of a depth map, resized to the photo if its aspect ratio is another one.

    Returns:
        float32 [height, width, 1] in [0, 1] with the photo's aspect ratio; near is 1.
    """
    height, width = photo.pixels.shape[:2]
    if _aspect_difference(depth.values.shape[:2], (height, width)) > _SAME_ASPECT:
        return resize_depth(depth.values, height, width)
    return depth.values


def depth_from_values(values: Values, *, far_is_bright: bool = False) -> DepthMap:
    """Converts the values of a depth map to inverse depth in [0, 1].

    - Integers are divided by the largest value of their type, as in training.
    - A 16-bit map whose largest value is below a fifth of 65535 probably holds millimetres. It is
      normalized linearly: its smallest value except 0 becomes 0, its largest 1. The value 0, with
      which depth cameras mark unknown pixels, becomes far.
    - Floats, such as metres or inverse depth, are normalized linearly; see `normalize_depth`.

    With `far_is_bright`, the values are negated, and not inverted: the result is linear in the
    values, as for the output of a depth network.

    Args:
        values: uint8, uint16, float32 or float64 [height, width, 1].
        far_is_bright: Whether far is bright (large).

    Raises:
        InputError: If no value is finite.
    """
    if values.dtype.kind == "f":
        finite = np.isfinite(values)
        share = 1 - float(finite.mean())
        if not finite.any():
            raise InputError("has no finite value (all are NaN or infinite); give another map")
        notes = (f"{_percent(share)} of its values are not finite; they are far",) if share else ()
        return DepthMap(normalize_depth(-values if far_is_bright else values), notes)
    if values.dtype == np.uint16:
        used = float(values.max()) / np.iinfo(np.uint16).max
        if used < _MILLIMETRE_MAPS_BELOW and values.max() != values.min():
            known = np.where(values > 0, values.astype(np.float32), np.float32(np.nan))
            scaled = normalize_depth(-known if far_is_bright else known)
            note = f"uses {_percent(used)} of its range: probably millimetres, so it is normalized"
            note += "" if far_is_bright else "; near is dark"
            return DepthMap(scaled, (note,), is_probably_metric=True)
    unit = to_unit(values)
    return DepthMap(as_float(1 - unit) if far_is_bright else np.ascontiguousarray(unit))


def align_to_photo(depth: DepthMap, photo: Photo) -> DepthMap:
    """Turns a depth map that lies as the camera's sensor to the upright photo.

    A map that is landscape for a portrait photo, or the other way round, is turned by the photo's
    EXIF orientation, if its aspect ratio then differs by at most 10 %. A map that would fit before
    and after the turn is kept, and noted. So is a map of another aspect ratio, since it will be
    stretched.

    Raises:
        InputError: If the map lies the other way, and turning it does not make it fit.
    """
    size, photo_size = depth.values.shape[:2], photo.pixels.shape[:2]
    if _aspect_difference(size, photo_size) <= _ASPECT_TOLERANCE:
        turned_size = size[::-1] if photo.orientation >= 5 else size
        if (
            photo.orientation == 1
            or _aspect_difference(turned_size, photo_size) > _ASPECT_TOLERANCE
        ):
            return depth
        note = (
            f"taken as it is, though the photo is turned by its EXIF orientation "
            f"({photo.orientation}); turn the map if it lies as the sensor"
        )
        return replace(depth, notes=(*depth.notes, note))
    if _lie_across(size, photo_size):
        turned = apply_orientation(depth.values, photo.orientation)
        if _aspect_difference(turned.shape[:2], photo_size) > _ASPECT_TOLERANCE:
            raise InputError(
                f"the depth map is {_size(size)}, but the upright photo is {_size(photo_size)}; "
                "give a depth map of the upright photo"
            )
        note = f"turned by the photo's EXIF orientation ({photo.orientation})"
        return replace(depth, values=np.ascontiguousarray(turned), notes=(*depth.notes, note))
    note = f"is {_size(size)} for a photo of {_size(photo_size)}; it is stretched"
    return replace(depth, notes=(*depth.notes, note))


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


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Puts the path of the file before an error's message."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: ", error) from error


def _grey_pixels(path: Path) -> Values:
    photo = read_photo(path)
    if not photo.grey and np.ptp(photo.pixels, axis=2).any():
        raise InputError(
            f"{path}: a depth map has one channel, but this is a colour image; give a grey one"
        )
    return photo.pixels[..., :1]


def _aspect_difference(size: tuple[int, ...], other: tuple[int, ...]) -> float:
    """Returns by which part the aspect ratios of two sizes differ; 0 if they are equal."""
    ratio = size[1] * other[0] / (size[0] * other[1])
    return max(ratio, 1 / ratio) - 1


def _lie_across(size: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Returns whether one of two sizes is landscape and the other portrait."""
    shapes = {np.sign(height - width) for height, width in (size, other)}
    return shapes == {-1, 1}


def _size(size: tuple[int, ...]) -> str:
    return f"{size[1]} x {size[0]}"


def _percent(share: float) -> str:
    return f"{share:.0%}".replace("%", " %") if share >= 0.01 else "less than 1 %"
