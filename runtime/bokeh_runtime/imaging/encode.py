"""Encodes photos with their alpha, ICC profile and EXIF."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import tifffile
from PIL import ExifTags, Image

from bokeh_runtime.imaging.picture import Photo, Pixels, from_unit, to_unit

# TIFF tags that describe the photo. All others describe the layout of the file.
DESCRIPTIVE_TAGS = (270, 271, 272, 305, 306, 315, 33432, 34665, 34853)
_FORMATS_WITH_ALPHA = ("PNG", "WEBP", "TIFF", "HEIF", "AVIF")


def encode(photo: Photo, format_name: str, quality: int) -> bytes:
    """Encodes a photo as the content of a file.

    Args:
        photo: The photo.
        format_name: Pillow's name of the format. PNG and TIFF keep 16 bits, the others have 8.
        quality: Encoder quality of JPEG, WebP, HEIC and AVIF, 1 to 100.
    """
    if photo.alpha is not None and format_name not in _FORMATS_WITH_ALPHA:
        photo = _blend_on_white(photo)
    if photo.pixels.dtype == np.uint16:
        if format_name == "PNG":
            return _encode_16_bit_png(photo)
        if format_name == "TIFF":
            return _encode_16_bit_tiff(photo)
        photo = replace(
            photo,
            pixels=_to_eight_bits(photo.pixels),
            alpha=None if photo.alpha is None else _to_eight_bits(photo.alpha),
        )
    return _encode_with_pillow(photo, format_name, quality)


def _to_eight_bits(pixels: Pixels) -> Pixels:
    return np.asarray((pixels.astype(np.uint32) * 255 + 32767) // 65535, np.uint8)


def _blend_on_white(photo: Photo) -> Photo:
    assert photo.alpha is not None
    opacity = to_unit(photo.alpha)[..., np.newaxis]
    pixels = from_unit(to_unit(photo.pixels) * opacity + (1 - opacity), photo.pixels.dtype)
    return replace(photo, pixels=pixels, alpha=None)


def _channels(photo: Photo) -> Pixels:
    """Returns the channels as they are stored in a file: one channel for grey, alpha last."""
    pixels = cv2.cvtColor(photo.pixels, cv2.COLOR_RGB2GRAY) if photo.grey else photo.pixels
    return pixels if photo.alpha is None else np.dstack([pixels, photo.alpha])


def _encode_with_pillow(photo: Photo, format_name: str, quality: int) -> bytes:
    options: dict[str, dict[str, Any]] = {
        "JPEG": {"quality": quality, "subsampling": "4:2:0"},
        "PNG": {"compress_level": 3},  # the default of 6 takes seconds for a large photo
        "WEBP": {"quality": quality, "method": 2},
        "TIFF": {},  # uncompressed, since Pillow writes EXIF only then
        "HEIF": {"quality": quality},
        "AVIF": {"quality": quality},
    }
    file = io.BytesIO()
    metadata: dict[str, Any] = {"icc_profile": photo.icc} if photo.icc else {}
    if photo.exif:
        metadata["exif"] = _parse_exif(photo.exif)
    Image.fromarray(_channels(photo)).save(file, format_name, **options[format_name], **metadata)
    return file.getvalue()


def _parse_exif(content: bytes) -> Image.Exif:
    exif = Image.Exif()
    exif.load(content)
    for part in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        exif.get_ifd(part)  # loads the IFD, so that it is written too
    return exif


def _encode_16_bit_png(photo: Photo) -> bytes:
    channels = _channels(photo)
    if not photo.grey:
        swap = cv2.COLOR_RGB2BGR if photo.alpha is None else cv2.COLOR_RGBA2BGRA
        channels = cv2.cvtColor(channels, swap)
    elif photo.alpha is not None:  # OpenCV cannot write grey with alpha
        channels = np.dstack([channels[..., :1]] * 3 + [photo.alpha])
    content = cv2.imencode(".png", channels)[1].tobytes()
    # OpenCV writes no metadata, so their chunks are inserted after the header (PNG 3rd ed., 11.3).
    chunks = b""
    if photo.icc:
        chunks += _png_chunk(b"iCCP", b"ICC\0\0" + zlib.compress(photo.icc))
    if photo.exif:
        chunks += _png_chunk(b"eXIf", photo.exif)
    header = 8 + 25  # bytes of the signature and the IHDR chunk
    return content[:header] + chunks + content[header:]


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _encode_16_bit_tiff(photo: Photo) -> bytes:
    tags = _parse_exif(photo.exif or b"")
    kept = [(tag, 2, 0, str(tags[tag]), True) for tag in DESCRIPTIVE_TAGS[1:7] if tag in tags]
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        _channels(photo),
        photometric="minisblack" if photo.grey else "rgb",
        planarconfig="contig",
        extrasamples=None if photo.alpha is None else ["unassalpha"],
        compression="zlib",
        iccprofile=photo.icc,
        extratags=kept,
        metadata=None,
        software=False,
    )
    return file.getvalue()
