"""Decodes photo files: upright RGB pixels with alpha, ICC profile and EXIF."""

from __future__ import annotations

import io
import re
import struct
from dataclasses import replace

import numpy as np
from PIL import ExifTags, Image, ImageCms

from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.encode import DESCRIPTIVE_TAGS, keep_bytes_of_text
from bokeh_runtime.imaging.formats import check_size, identify, pillow_warnings_ignored
from bokeh_runtime.imaging.jpeg import decode_jpeg
from bokeh_runtime.imaging.picture import Photo, Pixels, apply_orientation
from bokeh_runtime.imaging.png import decode_16_bit_png, is_16_bit_png, png_notes
from bokeh_runtime.imaging.tiff import (
    TiffProperties,
    decode_16_bit_tiff,
    is_tiff,
    read_tiff_properties,
)

_STRIP_ROWS = 256
# Markers of HDR gain maps: Ultra HDR and ISO 21496-1 in JPEG, Apple in JPEG or HEIC, ISO in HEIC or
# AVIF.
_GAIN_MAP = re.compile(
    rb"hdrgm:Version|urn:iso:std:iso:ts:21496:-1|urn:com:apple:photo:2020:aux:hdrgainmap"
    rb"|infe[\x02\x03].{7,9}tmap",
    re.DOTALL,
)
# In ITU-T H.273; 2 is "unspecified". The transfer of BT.709 (1, 6) is shown like that of sRGB.
_SRGB_PRIMARIES, _SRGB_TRANSFERS = (1, 2), (1, 2, 6, 13)


def decode(content: bytes) -> Photo:
    """Decodes the content of a photo file.

    Raises:
        InputError: If the format or pixel type is not supported, or the file is damaged, truncated
            or too large.
        Exception: A decoder may raise any other error for a damaged file.
    """
    tiff = read_tiff_properties(content) if is_tiff(content) else None
    if tiff is not None and tiff.is_16_bit:
        return _decode_16_bit_tiff(content, tiff)
    with pillow_warnings_ignored():
        image = identify(content)
        check_size(*image.size)
        orientation, exif = _read_exif(image)
        icc = image.info.get("icc_profile")
        notes = [*(tiff.notes if tiff else ()), *_notes(image, content)]
        if image.format != "JPEG":
            image.load()  # fails for a truncated file, where OpenCV would fill the rest
            if image.format == "PNG" and is_16_bit_png(content):
                photo = decode_16_bit_png(content, image.info.get("transparency"))
            else:
                # Some Pillow decoders apply the orientation themselves and then reset this tag.
                orientation, exif = _read_exif(image)
                photo, icc = _photo_from_pillow(image, icc)
    if image.format == "JPEG":
        photo, icc = _decode_jpeg(image, content, icc)
    if exif is None:
        notes.append("its EXIF is damaged and is not kept")
    notes = [*photo.notes, *notes]
    upright = _to_upright_photo(photo, orientation, icc, exif, notes, from_tiff=tiff is not None)
    # pillow-heif turns the pixels itself and keeps the orientation here.
    turned = image.info.get("original_orientation")
    return replace(upright, orientation=turned) if isinstance(turned, int) else upright


def _to_upright_photo(
    photo: Photo,
    orientation: int,
    icc: bytes | None,
    exif: Image.Exif | None,
    notes: list[str],
    *,
    from_tiff: bool,
) -> Photo:
    if icc and _icc_colour_space(icc) != (b"GRAY" if photo.grey else b"RGB "):
        icc = None  # the profile is for other channels
    upright = apply_orientation(photo.pixels, orientation)
    height, width = upright.shape[:2]
    kept = None if exif is None else _serialize_exif(exif, height, width, from_tiff=from_tiff)
    return replace(
        photo,
        pixels=np.ascontiguousarray(upright),
        alpha=None if photo.alpha is None else apply_orientation(photo.alpha, orientation),
        icc=icc,
        exif=kept,
        notes=tuple(notes),
        orientation=orientation,
    )


def _decode_16_bit_tiff(content: bytes, tiff: TiffProperties) -> Photo:
    photo = decode_16_bit_tiff(content)
    exif = None
    with pillow_warnings_ignored():
        try:
            exif = identify(content).getexif()
        except Exception:  # tifffile reads some files that Pillow does not
            exif = None
    notes = list(tiff.notes)
    return _to_upright_photo(photo, tiff.orientation, tiff.icc, exif, notes, from_tiff=True)


def _read_exif(image: Image.Image) -> tuple[int, Image.Exif | None]:
    """Returns the EXIF orientation (1 if unknown) and the EXIF, or None if that is damaged."""
    try:
        exif = image.getexif()
        return int(exif.get(ExifTags.Base.Orientation, 1)), exif
    except Exception:  # Pillow may raise any error, but the photo itself is readable
        return 1, None


def _notes(image: Image.Image, content: bytes) -> list[str]:
    notes = []
    if image.format != "TIFF" and getattr(image, "n_frames", 1) > 1:
        notes.append("has several images; only the first is read")
    if image.format in ("JPEG", "HEIF", "AVIF") and _GAIN_MAP.search(content):
        notes.append("its HDR gain map is not kept; the result is the standard-range image")
    if image.format == "PNG":
        notes += png_notes(content)
    if image.format in ("HEIF", "AVIF") and not image.info.get("icc_profile"):
        notes += _nclx_notes(content)
    return notes


def _nclx_notes(content: bytes) -> list[str]:
    """Returns a note if a HEIC or AVIF file's colour space is another one than sRGB."""
    offset = content.find(b"colrnclx", 0, content.find(b"mdat"))
    if offset < 0 or offset + 12 > len(content):
        return []
    primaries, transfer = struct.unpack_from(">HH", content, offset + 8)
    if primaries in _SRGB_PRIMARIES and transfer in _SRGB_TRANSFERS:
        return []
    values = f"nclx, primaries {primaries}, transfer {transfer}"
    return [f"its colour space ({values}) is ignored; it is taken as sRGB"]


def _decode_jpeg(
    image: Image.Image, content: bytes, icc: bytes | None
) -> tuple[Photo, bytes | None]:
    progressive = bool(image.info.get("progressive"))
    pixels, notes = decode_jpeg(content, image.mode, progressive=progressive)
    if pixels.shape[1::-1] != image.size:
        raise InputError("damaged (its size contradicts its data); copy it again")
    if image.mode == "CMYK":
        inks = Image.frombuffer("CMYK", image.size, pixels, "raw", "CMYK", 0, 1)
        photo, icc = _photo_from_pillow(inks, icc)
        return replace(photo, notes=tuple(notes)), icc
    return Photo(pixels, grey=image.mode == "L", notes=tuple(notes)), icc


def _photo_from_pillow(image: Image.Image, icc: bytes | None) -> tuple[Photo, bytes | None]:
    if image.mode in ("CMYK", "LAB", "YCbCr"):
        if icc and image.mode == "CMYK":
            image = _to_srgb(image, icc)
        return Photo(_rgb_pixels(image)), None
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        raise InputError("its samples do not have 8 or 16 bits; save it as RGB or grey")
    alpha = None
    if image.has_transparency_data:
        image = image.convert("LA" if image.mode in ("L", "LA", "1") else "RGBA")
        alpha = np.array(image.getchannel("A"))
    grey = image.mode in ("L", "LA", "1")
    return Photo(_rgb_pixels(image), alpha, grey), icc


def _rgb_pixels(image: Image.Image) -> Pixels:
    """Converts to RGB in strips, since Pillow's `convert` needs three copies of a large photo."""
    width, height = image.size
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, _STRIP_ROWS):
        strip = image.crop((0, top, width, min(top + _STRIP_ROWS, height)))
        pixels[top : top + _STRIP_ROWS] = np.asarray(strip.convert("RGB"))
    return pixels


def _to_srgb(image: Image.Image, icc: bytes) -> Image.Image:
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        srgb = ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, profile, srgb, outputMode="RGB") or image
    except (ImageCms.PyCMSError, OSError):  # an invalid profile is ignored
        return image


def _icc_colour_space(icc: bytes) -> bytes:
    return icc[16:20]  # ICC.1:2022, table 17


def _serialize_exif(exif: Image.Exif, height: int, width: int, *, from_tiff: bool) -> bytes | None:
    try:
        details = exif.get_ifd(ExifTags.IFD.Exif)
        for tag, size in ((ExifTags.Base.ExifImageWidth, width), (40963, height)):
            if tag in details:
                details[tag] = size
        keep_bytes_of_text(exif)  # which loads all IFDs, so that they are written too
        for tag in list(exif):
            if tag == ExifTags.Base.Orientation or (from_tiff and tag not in DESCRIPTIVE_TAGS):
                del exif[tag]
        return exif.tobytes().removeprefix(b"Exif\0\0") if exif else None
    except Exception:  # Pillow may raise any error, but the photo itself is readable
        return None
