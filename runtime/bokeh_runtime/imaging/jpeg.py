"""Decodes JPEG files, and rejects damaged ones by libjpeg's warnings."""

from __future__ import annotations

import io
import re

import cv2
import numpy as np
import simplejpeg
from PIL import JpegImagePlugin

from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.picture import Pixels

_EOI_MARKER = b"\xff\xd9"
_SOS_MARKER = b"\xff\xda"  # this marker and the next cannot occur within entropy-coded data
_DRI_SEGMENT = b"\xff\xdd\x00\x04"
_MAX_SCANS = 1000  # crafted progressive files with more take hours to decode (LJT-01-004, 2015)


def decode_jpeg(content: bytes, mode: str, *, progressive: bool) -> tuple[Pixels, list[str]]:
    """Decodes the first image of a JPEG file.

    Where data are missing or damaged, libjpeg warns, fills the rest with grey and continues. So a
    file with a warning is rejected, unless the whole image was decoded nevertheless.

    Args:
        content: Content of the file.
        mode: Pillow's mode: "L", "RGB" or "CMYK" (also for YCCK).
        progressive: Whether the file is progressive.

    Returns:
        The pixels, uint8 [height, width, 3], or [height, width, 4] for CMYK (0 is no ink); and
        notes for the user.

    Raises:
        InputError: If rows are missing or damaged.
    """
    if progressive and content.count(_SOS_MARKER) > _MAX_SCANS:
        raise InputError(f"has more than {_MAX_SCANS} scans; save it again")
    notes: list[str] = []
    try:
        pixels = _decode(content, mode)
    except ValueError as error:
        if "subsampling" in str(error):  # valid, but TurboJPEG does not support it
            return _decode_with_pillow(content, mode), [
                "its chroma subsampling is unusual, so damaged rows are not detected"
            ]
        # If only the end marker is missing, appending it avoids the warning.
        try:
            pixels = _decode(content + _EOI_MARKER, mode)
            notes.append("its end marker is missing, but all rows were decoded")
        except ValueError as second_error:
            # Without restart markers, the decoder looks for the end marker only after the last row.
            # Some cameras write zeros before it. Any other bytes are rows that damage has lost.
            extraneous = re.search(r"(\d+) extraneous bytes before marker 0xd9", str(second_error))
            padded = (
                extraneous is not None
                and bytes(int(extraneous[1])) + _EOI_MARKER in content + _EOI_MARKER
            )
            if extraneous is None or not padded or _DRI_SEGMENT in content:
                raise InputError(f"damaged or truncated ({error}); copy it again") from error
            pixels = _decode(content, mode, strict=False)
            notes.append(f"{extraneous[1]} bytes after the image are ignored")
    if mode == "L":
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)), notes
    if mode == "CMYK":
        np.subtract(255, pixels, out=pixels)  # files store inverted CMYK, as Adobe's programs do
    return pixels, notes


def _decode_with_pillow(content: bytes, mode: str) -> Pixels:
    with JpegImagePlugin.JpegImageFile(io.BytesIO(content), "") as image:
        return np.array(image if mode == "CMYK" else image.convert("RGB"))


def _decode(content: bytes, mode: str, *, strict: bool = True) -> Pixels:
    colours = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}[mode]
    return np.asarray(simplejpeg.decode_jpeg(content, colours, strict=strict))
