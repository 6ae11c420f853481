"""Reads the depth map that phones store in a photo: GDepth, dynamic depth, Apple's, and in HEIC."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bokeh_runtime.errors import Argument, InputError
from bokeh_runtime.imaging.decode import decode
from bokeh_runtime.imaging.depth import DepthMap, align_to_photo, depth_from_values
from bokeh_runtime.imaging.depth_files import Values
from bokeh_runtime.imaging.formats import check_size, identify, pillow_warnings_ignored
from bokeh_runtime.imaging.jpeg_segments import (
    Segment,
    end_of_first_image,
    read_extended_xmp,
    read_further_images,
    read_segments,
    read_xmp,
)
from bokeh_runtime.imaging.photo import FloatImage, Photo, as_float, to_unit
from bokeh_runtime.imaging.picture import apply_orientation
from bokeh_runtime.imaging.xmp import Element, elements_with, parse_xmp, read_property

_GDEPTH = "http://ns.google.com/photos/1.0/depthmap/"
_DEPTH_MAP = "http://ns.google.com/photos/dd/1.0/depthmap/"
_ITEMS = ("http://ns.google.com/photos/dd/1.0/item/", "http://ns.google.com/photos/1.0/item/",
          "http://ns.google.com/photos/1.0/container/item/")  # fmt: skip
_APPLE = "http://ns.apple.com/pixeldatainfo/1.0/"
_NOTE = "http://ns.adobe.com/xmp/note/"
_DEPTH_WORDS = ("depth", "depthmap", "android/depthmap")
_IMAGE_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
_MAX_PIXELS = 4_000_000
"""Pixels that a depth map may have even if the photo has fewer."""
_MAX_RATIO = 1e9
"""Largest ratio of the far to the near limit; larger ones are damaged numbers."""
_HEIF_UNIFORM_Z = 2  # depth representation type whose large values are far (HEVC, F.14.3.3)


@dataclass(frozen=True)
class _Range:
    """How a depth map of Google's formats stores depth.

    Attributes:
        is_linear: Whether the values are linear in depth ("RangeLinear"), and not in its inverse.
        near, far: Depths of the values 0 and 1; None if unknown.
    """

    is_linear: bool
    near: float | None
    far: float | None


def find_embedded_depth(path: Path) -> str | None:
    """Returns the format of the depth map in a photo, such as "GDepth"; None if there is none.

    The depth map is not decoded, so it may be damaged. A file that cannot be read has none.
    """
    try:
        content = path.read_bytes()
        if content.startswith(b"\xff\xd8"):
            return _find_in_jpeg(content)
        return "HEIC" if _heif_depth_images(content) else None
    except (OSError, InputError):
        return None


def read_embedded_depth(path: Path, photo: Photo) -> DepthMap:
    """Reads the depth map that is stored in a photo, turned to the upright photo.

    - GDepth: base64 in the XMP, or its extension, of a JPEG
      (https://developers.google.com/depthmap-metadata).
    - Dynamic depth: a JPEG or PNG after the first image of a JPEG, listed in its XMP
      (https://developer.android.com/media/camera/camera2/Dynamic-depth-v1.0.pdf).
    - Apple: a further image of a multi-picture JPEG, whose XMP says "disparity" or "depth".
    - The auxiliary depth image of a HEIC file.

    Google's formats store 0 for near. RangeInverse is inverse depth apart from that; RangeLinear is
    converted to inverse depth with its near and far limits. Others are normalized linearly.

    Args:
        path: Path of the photo.
        photo: The photo, for its size and orientation.

    Raises:
        InputError: If the file cannot be read, has no depth map, or that is damaged.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    remedy = ("give another depth map with ", Argument("depth"))
    try:
        max_pixels = max(_MAX_PIXELS, photo.pixels.shape[0] * photo.pixels.shape[1])
        is_jpeg = content.startswith(b"\xff\xd8")
        read = _read_from_jpeg if is_jpeg else _read_from_heif
        if (depth := read(content, max_pixels)) is not None:
            if is_jpeg:  # stored as the photo's pixels are; libheif turns both
                turned = apply_orientation(depth.values, photo.orientation)
                depth = DepthMap(np.ascontiguousarray(turned), depth.notes)
            return align_to_photo(depth, replace(photo, orientation=1))  # it is upright now
    except InputError as error:
        raise InputError(f"{path}: embedded depth map: ", error, remedy=remedy) from error
    except MemoryError as error:
        raise InputError(
            f"{path}: embedded depth map: not enough memory for it", remedy=remedy
        ) from error
    except Exception as error:  # a decoder may raise any error for a damaged file
        cause = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: embedded depth map: damaged ({cause})", remedy=remedy) from error
    raise InputError(
        f"{path}: has no embedded depth map",
        remedy=("give a depth map with ", Argument("depth")),
    )


def _find_in_jpeg(content: bytes) -> str | None:
    segments = read_segments(content)
    root = _xmp_root(segments)
    if root is not None:
        if read_property(root, _GDEPTH, "Format") or read_property(root, _GDEPTH, "Data"):
            return "GDepth"
        if _depth_item(root) is not None:
            return "dynamic depth"
    return "Apple" if _apple_image(content, segments) else None


def _read_from_jpeg(content: bytes, max_pixels: int) -> DepthMap | None:
    segments = read_segments(content)
    root = _xmp_root(segments)
    if root is not None:
        if (image := _gdepth_image(root, segments)) is not None:
            stored = _decode_grey(image, max_pixels)
            return DepthMap(_inverse_depth(stored, _range(root, _GDEPTH)))
        if (item := _depth_item(root)) is not None:
            stored = _decode_grey(_appended_item(content, *item), max_pixels)
            return DepthMap(_inverse_depth(stored, _range(root, _DEPTH_MAP)))
    if (apple := _apple_image(content, segments)) is not None:
        image, kind = apple
        return depth_from_values(_decode_grey(image, max_pixels), far_is_bright=kind == "depth")
    return None


def _xmp_root(segments: list[Segment]) -> Element | None:
    packet = read_xmp(segments)
    return None if packet is None else parse_xmp(packet)


def _gdepth_image(root: Element, segments: list[Segment]) -> bytes | None:
    """Returns the image file in GDepth:Data; None if there is no GDepth."""
    if read_property(root, _GDEPTH, "Format") is None and not read_property(root, _GDEPTH, "Data"):
        return None
    encoded = read_property(root, _GDEPTH, "Data")
    guid = read_property(root, _NOTE, "HasExtendedXMP")
    if encoded is None and guid is not None:
        extension = parse_xmp(read_extended_xmp(segments, guid))
        encoded = read_property(extension, _GDEPTH, "Data")
    if encoded is None:
        raise InputError("damaged (GDepth:Data is missing)")
    try:
        return base64.b64decode("".join(encoded.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError("damaged (GDepth:Data is no base64)") from error


def _range(root: Element, namespace: str) -> _Range:
    def number(name: str) -> float | None:
        text = read_property(root, namespace, name)
        try:
            value = None if text is None else float(text)
        except ValueError:
            return None
        return value if value is not None and np.isfinite(value) else None

    kind = read_property(root, namespace, "Format") or "RangeInverse"
    if kind not in ("RangeInverse", "RangeLinear"):
        raise InputError(f"has the unknown format '{kind}'")
    return _Range(kind == "RangeLinear", number("Near"), number("Far"))


def _inverse_depth(stored: Values, stored_range: _Range) -> FloatImage:
    """Converts the values of Google's formats to inverse depth in [0, 1]."""
    value = to_unit(stored)
    near, far = stored_range.near, stored_range.far
    is_usable = near is not None and far is not None and 0 < near < far < near * _MAX_RATIO
    if not stored_range.is_linear or near is None or far is None or not is_usable:
        return as_float(1 - value)
    depth = near + value.astype(np.float64) * (far - near)
    return as_float((1 / depth - 1 / far) / (1 / near - 1 / far))


def _depth_item(root: Element) -> tuple[int, int] | None:
    """Returns the place of the depth map among the images that dynamic depth lists.

    Returns:
        Its offset after the first image, and its size in bytes. None if none is listed.
    """
    uri = read_property(root, _DEPTH_MAP, "DepthURI")
    for namespace in _ITEMS:
        offset = 0
        for index, item in enumerate(elements_with(root, namespace, "Mime")):
            names = [read_property(item, namespace, name) for name in ("DataURI", "Semantic")]
            length = _bytes(read_property(item, namespace, "Length"))
            padding = _bytes(read_property(item, namespace, "Padding"))
            is_depth = any(
                name is not None and (name == uri or name.lower() in _DEPTH_WORDS) for name in names
            )
            if index > 0:  # the first item is the photo itself
                if is_depth:
                    return offset, length
                offset += length
            offset += padding
    return None


def _bytes(text: str | None) -> int:
    return int(text) if text is not None and text.isascii() and text.isdigit() else 0


def _appended_item(content: bytes, offset: int, size: int) -> bytes:
    """Returns the bytes of an image after the first one."""
    end = end_of_first_image(content)
    if end is not None and size > 0:
        image = content[end + offset : end + offset + size]
        if len(image) == size and image.startswith(_IMAGE_SIGNATURES):
            return image
    raise InputError("damaged or truncated (it is not where the XMP says); copy the photo again")


def _apple_image(content: bytes, segments: list[Segment]) -> tuple[bytes, str] | None:
    """Returns the depth image of a multi-picture file, and "disparity" or "depth"."""
    for image in read_further_images(content, segments):
        packet = read_xmp(read_segments(image))
        if packet is None:
            continue
        kind = read_property(parse_xmp(packet), _APPLE, "AuxiliaryImageType")
        if kind in ("disparity", "depth"):
            return image, kind
    return None


def _decode_grey(image: bytes, max_pixels: int) -> Values:
    """Decodes a JPEG or PNG as it is stored, without its own EXIF orientation.

    Raises:
        InputError: If it is another format, too large, damaged, or a colour image.
    """
    if not image.startswith(_IMAGE_SIGNATURES):
        raise InputError("damaged (neither JPEG nor PNG)")
    with pillow_warnings_ignored():
        _check_size(identify(image).size, max_pixels)
    photo = decode(image)
    if not photo.grey and np.ptp(photo.pixels, axis=2).any():
        raise InputError("a colour image, where a grey one is expected")
    inverse = {6: 8, 8: 6}.get(photo.orientation, photo.orientation)
    return apply_orientation(photo.pixels[..., :1], inverse)


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    """Checks the size before the pixels are decoded: a small file can hold a huge image."""
    check_size(*size)
    if size[0] * size[1] > max_pixels:
        raise InputError(f"{size[0]} x {size[1]} is larger than the photo")


def _heif_depth_images(content: bytes) -> list[Any]:
    with pillow_warnings_ignored():
        image = identify(content)
        return [one for one in image.info.get("depth_images") or () if one is not None]


def _read_from_heif(content: bytes, max_pixels: int) -> DepthMap | None:
    images = _heif_depth_images(content)
    if not images:
        return None
    _check_size(images[0].size, max_pixels)
    with pillow_warnings_ignored():
        pixels = np.asarray(images[0].to_pillow())
    metadata = images[0].info.get("metadata") or {}
    if pixels.ndim == 3:
        pixels = pixels[..., 0]
    is_depth = metadata.get("representation_type") == _HEIF_UNIFORM_Z
    return depth_from_values(pixels[..., np.newaxis], far_is_bright=is_depth)
