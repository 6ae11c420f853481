"""Decodes TIFF files of 16 bits, and says what a TIFF file holds.

Pillow reads those of 8 bits and less; for 16 bits it has no colour. OpenCV reads grey and
interleaved RGB of 16 bits in every common compression, and tifffile the other forms.
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from dataclasses import dataclass

import cv2
import numpy as np
import tifffile

from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.formats import check_size
from bokeh_runtime.imaging.picture import Photo, Pixels

_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ORIENTATION = 274
_REDUCED = 1  # bit of NewSubfileType: a thumbnail
_UNSIGNED = 1
_ASSOCIATED, _UNASSOCIATED = 1, 2  # kinds of alpha
_DEFLATE = (8, 32946)
_BY_TIFFFILE = (1, 32773, *_DEFLATE)  # none and PackBits; the others need more packages
_REMEDY = "save it as RGB or grey of 8 or 16 bits"


def is_tiff(content: bytes) -> bool:
    """Says whether the content begins as a TIFF file, BigTIFF included."""
    return content[:4] in _SIGNATURES


@dataclass(frozen=True)
class TiffKind:
    """What the first page of a TIFF file holds.

    Attributes:
        deep: It has 16 bits, which `decode_deep_tiff` reads; Pillow reads the others.
        orientation: As in EXIF.
        icc: Colour profile.
        notes: For the user.
    """

    deep: bool
    orientation: int
    icc: bytes | None
    notes: tuple[str, ...]


def tiff_kind(content: bytes) -> TiffKind:
    """Looks at a TIFF file's tags.

    Raises:
        InputError: If its size is out of bounds, it is cut short, or of a kind that is not read.
    """
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page = file.pages.first
        check_size(page.imagewidth, page.imagelength)
        _check_whole(page, content)
        colours, bits = page.photometric.name, page.bitspersample
        sample = "float" if page.sampleformat == 3 else "signed"
        if page.sampleformat != _UNSIGNED or bits not in (1, 2, 4, 8, 16):
            kind = "" if page.sampleformat == _UNSIGNED else f"{sample} "
            raise InputError(f"has {kind}samples of {bits} bits; {_REMEDY}")
        notes = []
        if bits == 16 and colours not in ("MINISBLACK", "MINISWHITE", "RGB", "SEPARATED"):
            raise InputError(f"is a {colours} picture of 16 bits; {_REMEDY}")
        if colours == "SEPARATED" and bits == 16:
            if page.planarconfig != 1:  # Pillow takes one ink's plane for all of them
                raise InputError(f"is a planar CMYK picture of 16 bits; {_REMEDY}")
            notes.append("CMYK of 16 bits is read with 8")
        if any(kind not in (_ASSOCIATED, _UNASSOCIATED) for kind in _extra(page)):
            notes.append("has a channel that is neither colour nor alpha, which is not kept")
        if _has_more(file):
            notes.append("has several pages; the first is read")
        orientation = page.tags.get(_ORIENTATION)
        return TiffKind(
            deep=bits == 16 and colours != "SEPARATED",
            orientation=1 if orientation is None else int(orientation.value),
            icc=page.iccprofile,
            notes=tuple(notes),
        )


def decode_deep_tiff(content: bytes) -> Photo:
    """Decodes the first page of a TIFF file of 16 bits, grey or RGB, with or without alpha.

    Raises:
        InputError: If it is cut short, or its compression is not read.
    """
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page = file.pages.first
        samples, interleaved = page.samplesperpixel, page.planarconfig == 1
        if samples == 1 or (samples in (3, 4) and interleaved):
            pixels = _by_opencv(page, content)
        else:
            pixels = _by_tifffile(page, content)
        channels = _channels_last(page, pixels, planar=samples > 1 and not interleaved)
        grey = page.photometric.name != "RGB"
        colours = 1 if grey else 3
        extra = _extra(page)
        white = page.photometric.name == "MINISWHITE"
    colour, alpha = channels[..., :colours], None
    if white:
        colour = np.iinfo(np.uint16).max - colour
    if extra[:1] in ([_ASSOCIATED], [_UNASSOCIATED]):
        alpha = np.ascontiguousarray(channels[..., colours])
        if extra[0] == _ASSOCIATED:
            colour = _divided(colour, alpha)
    if grey:
        colour = np.repeat(colour, 3, axis=2)
    return Photo(np.ascontiguousarray(colour, np.uint16), alpha, grey)


def _extra(page: tifffile.TiffPage) -> list[int]:
    """Returns the kinds of the channels that are no colours."""
    colours = {"RGB": 3, "SEPARATED": 4}.get(page.photometric.name, 1)
    kinds = [int(kind) for kind in page.extrasamples]
    if not kinds and page.samplesperpixel == colours + 1:
        return [_UNASSOCIATED]  # OpenCV's files do not say
    return kinds


def _has_more(file: tifffile.TiffFile) -> bool:
    try:
        return not int(file.pages[1].tags.valueof(254, 0)) & _REDUCED
    except (IndexError, ValueError, TypeError, struct.error):
        return False


def _check_whole(page: tifffile.TiffPage, content: bytes) -> None:
    parts = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    whole = all(count > 0 and start + count <= len(content) for start, count in parts)
    if len(parts) < math.prod(page.chunked) or not whole:
        raise InputError("damaged or cut short (data are missing); copy it again")


def _by_opencv(page: tifffile.TiffPage, content: bytes) -> Pixels:
    turned = page.tags.get(_ORIENTATION)
    if turned is not None:  # by OpenCV too, in some versions and for some turns
        upright = (1).to_bytes(2, "little" if content[:2] == b"II" else "big")
        start = turned.valueoffset
        content = content[:start] + upright + content[start + 2 :]
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise InputError("damaged or cut short (its data do not decode); copy it again")
    if pixels.ndim == 3:
        turn = cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
        return np.asarray(cv2.cvtColor(pixels, turn))
    return np.asarray(pixels)


def _by_tifffile(page: tifffile.TiffPage, content: bytes) -> Pixels:
    if page.compression not in _BY_TIFFFILE:
        name = getattr(page.compression, "name", str(page.compression))
        raise InputError(f"is planar and compressed by {name}; save it interleaved")
    if page.compression in _DEFLATE:  # tifffile would unpack whatever a part unpacks to
        size = math.prod(page.chunks) * page.dtype.itemsize
        for start, count in zip(page.dataoffsets, page.databytecounts, strict=False):
            part = zlib.decompressobj().decompress(content[start : start + count], size + 1)
            if len(part) > size:
                raise InputError("damaged (its size contradicts its data); copy it again")
    return np.asarray(page.asarray())


def _channels_last(page: tifffile.TiffPage, pixels: Pixels, *, planar: bool) -> Pixels:
    height, width, samples = page.imagelength, page.imagewidth, page.samplesperpixel
    if pixels.size != height * width * samples:
        raise InputError("damaged (its size contradicts its data); copy it again")
    if planar:
        return np.moveaxis(pixels.reshape(samples, height, width), 0, -1)
    return pixels.reshape(height, width, samples)


def _divided(colour: Pixels, alpha: Pixels) -> Pixels:
    """Takes the alpha out of colours that were multiplied by it."""
    top = np.iinfo(np.uint16).max
    cover = np.maximum(alpha, 1)[..., np.newaxis].astype(np.float64)
    return np.asarray(np.minimum(np.rint(colour * (top / cover)), top), np.uint16)
