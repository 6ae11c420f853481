"""Decodes 16-bit PNG files with OpenCV, since Pillow reduces their colour to 8 bits."""

from __future__ import annotations

import struct

import cv2
import numpy as np

from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.picture import Photo

_SIGNATURE_BYTES = 8
_BIT_DEPTH_OFFSET, _COLOUR_TYPE_OFFSET = 24, 25  # in the IHDR chunk
_COLOUR_FLAG = 2  # bit of the colour type that is set for RGB
_REQUIRED_CHUNKS = (b"IHDR", b"tRNS", b"IDAT", b"IEND")
_SRGB_CODE_POINTS = (1, 13)  # primaries and transfer function (ITU-T H.273)


def is_16_bit_png(content: bytes) -> bool:
    """Returns whether a PNG file has 16 bits per channel."""
    return content[_BIT_DEPTH_OFFSET] == 16


def decode_16_bit_png(content: bytes, transparent: object) -> Photo:
    """Decodes a 16-bit PNG file.

    OpenCV does not report truncated data, so the file must have been decoded by Pillow before.

    Args:
        content: Content of the file.
        transparent: Value of the tRNS chunk of a grey image, as Pillow returns it.

    Raises:
        InputError: If a chunk does not fit into the file, or OpenCV cannot decode it.
    """
    stripped = np.frombuffer(_strip_ancillary_chunks(content), np.uint8)
    decoded = cv2.imdecode(stripped, cv2.IMREAD_UNCHANGED)
    if decoded is None or decoded.dtype != np.uint16:
        raise InputError("damaged or truncated (its data do not decode); copy it again")
    grey = not content[_COLOUR_TYPE_OFFSET] & _COLOUR_FLAG
    if decoded.ndim == 2:
        alpha = None
        if isinstance(transparent, int):
            alpha = np.where(decoded == transparent, 0, 65535).astype(np.uint16)
        return Photo(np.asarray(cv2.cvtColor(decoded, cv2.COLOR_GRAY2RGB)), alpha, grey)
    alpha = np.ascontiguousarray(decoded[..., 3]) if decoded.shape[2] == 4 else None
    conversion = cv2.COLOR_BGR2RGB if alpha is None else cv2.COLOR_BGRA2RGB
    return Photo(np.asarray(cv2.cvtColor(decoded, conversion)), alpha, grey)


def png_notes(content: bytes) -> list[str]:
    """Returns notes for the user about content of a PNG file that is not kept."""
    offset = content.find(b"cICP", 0, content.find(b"IDAT"))
    if offset > 0 and tuple(content[offset + 4 : offset + 6]) != _SRGB_CODE_POINTS:
        return ["its colour space (cICP) is ignored; it is taken as sRGB"]
    return []


def _strip_ancillary_chunks(content: bytes) -> bytes:
    """Removes all chunks but those of the image, since OpenCV allocates whatever a chunk claims."""
    kept, offset, kind = [content[:_SIGNATURE_BYTES]], _SIGNATURE_BYTES, b""
    while kind != b"IEND":
        if offset + 12 > len(content):
            raise InputError("truncated (its end is missing); copy it again")
        (length,) = struct.unpack_from(">I", content, offset)
        kind, end = content[offset + 4 : offset + 8], offset + 12 + length
        if end > len(content):
            raise InputError("damaged or truncated (a chunk is incomplete); copy it again")
        if kind in _REQUIRED_CHUNKS:
            kept.append(content[offset:end])
        offset = end
    return b"".join(kept)
