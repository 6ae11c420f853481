"""Decodes 16-bit TIFF files, and inspects the tags of any TIFF file.

Files of up to 8 bits are left to Pillow, which cannot read 16-bit colour. OpenCV reads 16-bit grey
and interleaved RGB in all common compressions; tifffile reads the other layouts.
"""

from __future__ import annotations

import io
import logging
import math
import struct
import zlib
from dataclasses import dataclass

import cv2
import numpy as np
import tifffile

from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.formats import check_size
from bokeh_runtime.imaging.picture import Photo, Pixels, apply_orientation

# The errors say what is wrong; without a handler, Python would print tifffile's warnings too.
logging.getLogger("tifffile").addHandler(logging.NullHandler())
_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ORIENTATION = 274
_THUMBNAIL_FLAG = 1  # bit of NewSubfileType
_UNSIGNED_FORMAT, _FLOAT_FORMAT = 1, 3
_ASSOCIATED_ALPHA, _UNASSOCIATED_ALPHA = 1, 2  # kinds of extra samples
_DEFLATE_COMPRESSIONS = (8, 32946)
# None and PackBits. tifffile would need more packages for others.
_TIFFFILE_COMPRESSIONS = (1, 32773, *_DEFLATE_COMPRESSIONS)
_REMEDY = "save it as RGB or grey of 8 or 16 bits"


def is_tiff(content: bytes) -> bool:
    """Returns whether the content starts with the signature of TIFF or BigTIFF."""
    return content[:4] in _SIGNATURES


@dataclass(frozen=True)
class TiffProperties:
    """Properties of the first page of a TIFF file.

    Attributes:
        is_16_bit: Whether it must be read by `decode_16_bit_tiff`. Otherwise Pillow reads it.
        orientation: EXIF orientation, 1 to 8.
        icc: ICC profile; None if there is none.
        notes: Notes for the user.
    """

    is_16_bit: bool
    orientation: int
    icc: bytes | None
    notes: tuple[str, ...]


def read_tiff_properties(content: bytes) -> TiffProperties:
    """Reads the tags of the first page of a TIFF file.

    Raises:
        InputError: If the image is too large, the file is truncated, or its pixel type is not
            supported.
    """
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page = file.pages.first
        check_size(page.imagewidth, page.imagelength)
        _check_complete(page, content)
        colours, bits = page.photometric.name, page.bitspersample
        sample = "float" if page.sampleformat == _FLOAT_FORMAT else "signed"
        if page.sampleformat != _UNSIGNED_FORMAT or bits not in (1, 2, 4, 8, 16):
            kind = "" if page.sampleformat == _UNSIGNED_FORMAT else f"{sample} "
            raise InputError(f"has {bits}-bit {kind}samples; {_REMEDY}")
        notes = []
        if bits == 16 and colours not in ("MINISBLACK", "MINISWHITE", "RGB", "SEPARATED"):
            raise InputError(f"is a 16-bit {colours} image; {_REMEDY}")
        if colours == "SEPARATED" and bits == 16:
            if page.planarconfig != 1:  # Pillow would use the plane of one ink for all
                raise InputError(f"is a planar 16-bit CMYK image; {_REMEDY}")
            notes.append("its 16-bit CMYK is read with 8 bits")
        if any(
            kind not in (_ASSOCIATED_ALPHA, _UNASSOCIATED_ALPHA)
            for kind in _extra_sample_kinds(page)
        ):
            notes.append("has a channel that is neither colour nor alpha; it is not kept")
        if _has_second_page(file):
            notes.append("has several pages; only the first is read")
        orientation = page.tags.get(_ORIENTATION)
        return TiffProperties(
            is_16_bit=bits == 16 and colours != "SEPARATED",
            orientation=1 if orientation is None else int(orientation.value),
            icc=page.iccprofile,
            notes=tuple(notes),
        )


def decode_16_bit_tiff(content: bytes) -> Photo:
    """Decodes the first page of a 16-bit TIFF file: grey or RGB, with or without alpha.

    Raises:
        InputError: If the file is damaged, or its compression is not supported.
    """
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page = file.pages.first
        samples, interleaved = page.samplesperpixel, page.planarconfig == 1
        if samples == 1 or (samples in (3, 4) and interleaved):
            pixels = _decode_with_opencv(page, content)
        else:
            pixels = _decode_with_tifffile(page, content)
        channels = _channels_last(page, pixels, planar=samples > 1 and not interleaved)
        grey = page.photometric.name != "RGB"
        colours = 1 if grey else 3
        extra_samples = _extra_sample_kinds(page)
        white_is_zero = page.photometric.name == "MINISWHITE"
    colour, alpha = channels[..., :colours], None
    if white_is_zero:
        colour = np.iinfo(np.uint16).max - colour
    if extra_samples[:1] in ([_ASSOCIATED_ALPHA], [_UNASSOCIATED_ALPHA]):
        alpha = np.ascontiguousarray(channels[..., colours])
        if extra_samples[0] == _ASSOCIATED_ALPHA:
            colour = _unpremultiply(colour, alpha)
    if grey:
        colour = np.repeat(colour, 3, axis=2)
    return Photo(np.ascontiguousarray(colour, np.uint16), alpha, grey)


def decode_float_tiff(content: bytes) -> Pixels | None:
    """Decodes the first page of a TIFF file if it has one channel of floats, such as a depth map.

    Returns:
        float32 or float64 [height, width, 1], upright. None if the samples are no floats.

    Raises:
        InputError: If the image is too large, has several channels, or the file is damaged.
    """
    try:
        with tifffile.TiffFile(io.BytesIO(content)) as file:
            page = file.pages.first
            if page.sampleformat != _FLOAT_FORMAT:
                return None
            check_size(page.imagewidth, page.imagelength)
            if page.samplesperpixel != 1:
                raise InputError(
                    f"has {page.samplesperpixel} channels of floats; a depth map has one channel"
                )
            _check_complete(page, content)
            if page.bitspersample == 16:
                pixels = _decode_with_tifffile(page, content).astype(np.float32)
            else:
                pixels = _decode_with_opencv(page, content, (np.float32, np.float64))
            tag = page.tags.get(_ORIENTATION)
            upright = apply_orientation(
                _channels_last(page, pixels, planar=False), 1 if tag is None else int(tag.value)
            )
            return np.ascontiguousarray(upright)
    except InputError:
        raise
    except Exception as error:  # tifffile may raise any error for a damaged file
        raise InputError("damaged or truncated (no readable TIFF); copy it again") from error


def _extra_sample_kinds(page: tifffile.TiffPage) -> list[int]:
    """Returns the kinds of the channels beyond the colours, as in the tag ExtraSamples."""
    colours = {"RGB": 3, "SEPARATED": 4}.get(page.photometric.name, 1)
    kinds = [int(kind) for kind in page.extrasamples]
    if not kinds and page.samplesperpixel == colours + 1:
        return [_UNASSOCIATED_ALPHA]  # OpenCV writes alpha without the tag
    return kinds


def _has_second_page(file: tifffile.TiffFile) -> bool:
    try:
        return not int(file.pages[1].tags.valueof(254, 0)) & _THUMBNAIL_FLAG
    except (IndexError, ValueError, TypeError, struct.error):
        return False


def _check_complete(page: tifffile.TiffPage, content: bytes) -> None:
    segments = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    complete = all(count > 0 and offset + count <= len(content) for offset, count in segments)
    if len(segments) < math.prod(page.chunked) or not complete:
        raise InputError("damaged or truncated (data are missing); copy it again")


def _decode_with_opencv(
    page: tifffile.TiffPage, content: bytes, dtypes: tuple[type, ...] = (np.uint16,)
) -> Pixels:
    orientation = page.tags.get(_ORIENTATION)
    if orientation is not None:  # reset, since some versions of OpenCV apply some values
        value = (1).to_bytes(2, "little" if content[:2] == b"II" else "big")
        offset = orientation.valueoffset
        content = content[:offset] + value + content[offset + 2 :]
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype not in dtypes:
        raise InputError("damaged or truncated (its data do not decode); copy it again")
    if pixels.ndim == 3:
        conversion = cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
        return np.asarray(cv2.cvtColor(pixels, conversion))
    return np.asarray(pixels)


def _decode_with_tifffile(page: tifffile.TiffPage, content: bytes) -> Pixels:
    if page.compression not in _TIFFFILE_COMPRESSIONS:
        name = getattr(page.compression, "name", str(page.compression))
        raise InputError(f"is planar and compressed with {name}; save it interleaved")
    if page.compression in _DEFLATE_COMPRESSIONS:
        # tifffile does not limit the unpacked size of a segment.
        size = math.prod(page.chunks) * page.dtype.itemsize
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False):
            segment = zlib.decompressobj().decompress(content[offset : offset + count], size + 1)
            if len(segment) > size:
                raise InputError("damaged (its size contradicts its data); copy it again")
    return np.asarray(page.asarray())


def _channels_last(page: tifffile.TiffPage, pixels: Pixels, *, planar: bool) -> Pixels:
    height, width, samples = page.imagelength, page.imagewidth, page.samplesperpixel
    if pixels.size != height * width * samples:
        raise InputError("damaged (its size contradicts its data); copy it again")
    if planar:
        return np.moveaxis(pixels.reshape(samples, height, width), 0, -1)
    return pixels.reshape(height, width, samples)


def _unpremultiply(colour: Pixels, alpha: Pixels) -> Pixels:
    """Divides colours by the alpha that they were multiplied with."""
    max_value = np.iinfo(np.uint16).max
    divisor = np.maximum(alpha, 1)[..., np.newaxis].astype(np.float64)
    return np.asarray(np.minimum(np.rint(colour * (max_value / divisor)), max_value), np.uint16)
