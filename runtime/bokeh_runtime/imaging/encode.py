"""Encodes photos with what they carried."""

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

# What a TIFF says of the photo; its other tags describe the file's own layout.
DESCRIPTIVE_TAGS = (270, 271, 272, 305, 306, 315, 33432, 34665, 34853)
_FORMATS_WITH_ALPHA = ("PNG", "WEBP", "TIFF", "HEIF", "AVIF")


def encode(photo: Photo, name: str, quality: int) -> bytes:
    """Returns a file's content.

    Args:
        photo: What to encode.
        name: Pillow's name of the format. PNG and TIFF keep 16 bits, the others have 8.
        quality: Of JPEG, WebP, HEIC and AVIF, 1 to 100.
    """
    if photo.alpha is not None and name not in _FORMATS_WITH_ALPHA:
        photo = _on_white(photo)
    if photo.pixels.dtype == np.uint16:
        if name == "PNG":
            return _encode_deep_png(photo)
        if name == "TIFF":
            return _encode_deep_tiff(photo)
        photo = replace(
            photo,
            pixels=_to_eight_bits(photo.pixels),
            alpha=None if photo.alpha is None else _to_eight_bits(photo.alpha),
        )
    return _encode_by_pillow(photo, name, quality)


def _to_eight_bits(pixels: Pixels) -> Pixels:
    return np.asarray((pixels.astype(np.uint32) * 255 + 32767) // 65535, np.uint8)


def _on_white(photo: Photo) -> Photo:
    assert photo.alpha is not None
    cover = to_unit(photo.alpha)[..., np.newaxis]
    pixels = from_unit(to_unit(photo.pixels) * cover + (1 - cover), photo.pixels.dtype)
    return replace(photo, pixels=pixels, alpha=None)


def _channels(photo: Photo) -> Pixels:
    """Returns the channels as a file holds them: grey once, alpha last."""
    pixels = cv2.cvtColor(photo.pixels, cv2.COLOR_RGB2GRAY) if photo.grey else photo.pixels
    return pixels if photo.alpha is None else np.dstack([pixels, photo.alpha])


def _encode_by_pillow(photo: Photo, name: str, quality: int) -> bytes:
    options: dict[str, dict[str, Any]] = {
        "JPEG": {"quality": quality, "subsampling": "4:2:0"},
        "PNG": {"compress_level": 3},  # the default, 6, takes seconds for a large photo
        "WEBP": {"quality": quality, "method": 2},
        "TIFF": {},  # Pillow writes EXIF into uncompressed files alone
        "HEIF": {"quality": quality},
        "AVIF": {"quality": quality},
    }
    file = io.BytesIO()
    carried: dict[str, Any] = {"icc_profile": photo.icc} if photo.icc else {}
    if photo.exif:
        carried["exif"] = _parsed(photo.exif)
    Image.fromarray(_channels(photo)).save(file, name, **options[name], **carried)
    return file.getvalue()


def _parsed(content: bytes) -> Image.Exif:
    exif = Image.Exif()
    exif.load(content)
    for part in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        exif.get_ifd(part)  # loads it, so that it is written too
    return exif


def _encode_deep_png(photo: Photo) -> bytes:
    channels = _channels(photo)
    if not photo.grey:
        swap = cv2.COLOR_RGB2BGR if photo.alpha is None else cv2.COLOR_RGBA2BGRA
        channels = cv2.cvtColor(channels, swap)
    elif photo.alpha is not None:  # OpenCV writes no grey with alpha
        channels = np.dstack([channels[..., :1]] * 3 + [photo.alpha])
    content = cv2.imencode(".png", channels)[1].tobytes()
    # OpenCV writes no metadata: their chunks go in behind the header (PNG 3rd edition, 11.3).
    chunks = b""
    if photo.icc:
        chunks += _png_chunk(b"iCCP", b"ICC\0\0" + zlib.compress(photo.icc))
    if photo.exif:
        chunks += _png_chunk(b"eXIf", photo.exif)
    header = 8 + 25  # signature, IHDR
    return content[:header] + chunks + content[header:]


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _encode_deep_tiff(photo: Photo) -> bytes:
    tags = _parsed(photo.exif or b"")
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
