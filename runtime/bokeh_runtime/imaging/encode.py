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
_TEXT_TAGS = (270, 271, 272, 305, 306, 315, 33432)
DESCRIPTIVE_TAGS = (*_TEXT_TAGS, 34665, 34853)
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


def lost_exif(photo: Photo, format_name: str | None) -> str | None:
    """Returns a note of what a format does not keep of the photo's EXIF; None if it keeps all."""
    if format_name != "TIFF" or photo.pixels.dtype != np.uint16 or not photo.exif:
        return None
    if set(_parse_exif(photo.exif)) <= set(_TEXT_TAGS):
        return None
    return "of its EXIF, a 16-bit TIFF keeps camera, date, author and description alone"


def keep_bytes_of_text(exif: Image.Exif) -> None:
    """Gives an EXIF's texts as bytes, which are written as they are.

    Pillow reads texts as Latin-1, whatever they are in, and writes those that are not ASCII with
    question marks.
    """
    for tags in (exif, *(exif.get_ifd(part) for part in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo))):
        for tag, value in tags.items():
            if isinstance(value, str) and not value.isascii():
                tags[tag] = value.encode("latin-1")


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
    keep_bytes_of_text(exif)  # which loads all IFDs, so that they are written too
    return exif


def _encode_16_bit_png(photo: Photo) -> bytes:
    channels = _channels(photo)
    if photo.grey and photo.alpha is not None:
        content = _grey_alpha_png(channels)
    else:
        if not photo.grey:
            swap = cv2.COLOR_RGB2BGR if photo.alpha is None else cv2.COLOR_RGBA2BGRA
            channels = cv2.cvtColor(channels, swap)
        content = cv2.imencode(".png", channels)[1].tobytes()
    # OpenCV writes no metadata, so their chunks are inserted after the header (PNG 3rd ed., 11.3).
    chunks = b""
    if photo.icc:
        chunks += _png_chunk(b"iCCP", b"ICC\0\0" + zlib.compress(photo.icc))
    if photo.exif:
        chunks += _png_chunk(b"eXIf", photo.exif)
    header = 8 + 25  # bytes of the signature and the IHDR chunk
    return content[:header] + chunks + content[header:]


def _grey_alpha_png(channels: Pixels) -> bytes:
    """Encodes uint16 [height, width, 2], grey and alpha, which OpenCV and Pillow cannot write."""
    height, width = channels.shape[:2]
    rows = channels.astype(">u2").view(np.uint8).reshape(height, -1)
    lines = np.full((height, 1 + rows.shape[1]), 2, np.uint8)  # filter type 2: less the row above
    lines[:, 1:] = rows
    lines[1:, 1:] -= rows[:-1]
    header = struct.pack(">IIBBBBB", width, height, 16, 4, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 3)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_png_chunk(kind, data) for kind, data in chunks)


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _encode_16_bit_tiff(photo: Photo) -> bytes:
    tags = _parse_exif(photo.exif or b"")
    kept = [(tag, 2, 0, _text(tags[tag]), True) for tag in _TEXT_TAGS[1:] if tag in tags]
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        _channels(photo),
        description=_text(tags[_TEXT_TAGS[0]]) if _TEXT_TAGS[0] in tags else None,
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


def _text(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("ascii", "replace")
