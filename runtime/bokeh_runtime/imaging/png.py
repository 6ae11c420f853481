"""Decodes PNG files of 16 bits, of which Pillow reads colour with 8."""

from __future__ import annotations

import struct

import cv2
import numpy as np

from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.picture import Photo

_SIGNATURE = 8  # bytes
_DEPTH, _COLOUR_TYPE = 24, 25  # where they stand: signature, IHDR's length and name, two sizes
_COLOUR = 2  # bit of the colour type
_NEEDED = (b"IHDR", b"tRNS", b"IDAT", b"IEND")
_SRGB = (1, 13)  # primaries and transfer function (ITU-T H.273)


def is_deep_png(content: bytes) -> bool:
    """Says whether a PNG file has 16 bits."""
    return content[_DEPTH] == 16


def decode_deep_png(content: bytes, transparent: object) -> Photo:
    """Decodes a PNG file of 16 bits that Pillow decodes, so that it is whole.

    Args:
        content: The file.
        transparent: The value of its tRNS, if it is grey.

    Raises:
        InputError: If a chunk contradicts the file's length.
    """
    bare = np.frombuffer(_bare(content), np.uint8)
    decoded = cv2.imdecode(bare, cv2.IMREAD_UNCHANGED)
    if decoded is None or decoded.dtype != np.uint16:
        raise InputError("damaged or cut short (its data do not decode); copy it again")
    grey = not content[_COLOUR_TYPE] & _COLOUR
    if decoded.ndim == 2:
        alpha = None
        if isinstance(transparent, int):
            alpha = np.where(decoded == transparent, 0, 65535).astype(np.uint16)
        return Photo(np.asarray(cv2.cvtColor(decoded, cv2.COLOR_GRAY2RGB)), alpha, grey)
    alpha = np.ascontiguousarray(decoded[..., 3]) if decoded.shape[2] == 4 else None
    turn = cv2.COLOR_BGR2RGB if alpha is None else cv2.COLOR_BGRA2RGB
    return Photo(np.asarray(cv2.cvtColor(decoded, turn)), alpha, grey)


def png_notes(content: bytes) -> list[str]:
    """Returns what of a PNG file is not kept, for the user."""
    at = content.find(b"cICP", 0, content.find(b"IDAT"))
    if at > 0 and tuple(content[at + 4 : at + 6]) != _SRGB:
        return ["its colour space (cICP) is not kept; it is taken as sRGB"]
    return []


def _bare(content: bytes) -> bytes:
    """Leaves out what is not of the picture: OpenCV takes the memory that any chunk claims."""
    kept, at, kind = [content[:_SIGNATURE]], _SIGNATURE, b""
    while kind != b"IEND":
        if at + 12 > len(content):
            raise InputError("cut short (its end is missing); copy it again")
        (length,) = struct.unpack_from(">I", content, at)
        kind, end = content[at + 4 : at + 8], at + 12 + length
        if end > len(content):
            raise InputError("damaged or cut short (a chunk is not whole); copy it again")
        if kind in _NEEDED:
            kept.append(content[at:end])
        at = end
    return b"".join(kept)
