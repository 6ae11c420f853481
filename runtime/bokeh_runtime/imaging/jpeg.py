"""Decodes JPEG files, and heeds what libjpeg warns of."""

from __future__ import annotations

import io
import re

import cv2
import numpy as np
import simplejpeg
from PIL import JpegImagePlugin

from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.picture import Pixels

_END = b"\xff\xd9"
_SCAN = b"\xff\xda"  # neither this nor the next occurs within the pictures' data
_RESTARTS = b"\xff\xdd\x00\x04"
_MOST_SCANS = 1000  # of a progressive file; more are made to take hours (LJT-01-004, 2015)


def decode_jpeg(content: bytes, mode: str, *, progressive: bool) -> tuple[Pixels, list[str]]:
    """Decodes the first picture of a JPEG file.

    libjpeg goes on where data are missing or broken, fills the rest with grey, and warns; so what
    it warns of is refused, unless all of the picture was decoded.

    Args:
        content: The file.
        mode: Pillow's: "L", "RGB" or "CMYK" (also for YCCK).
        progressive: It has several scans.

    Returns:
        uint8 [height, width, 3], or 4 for CMYK, which is 0 for no ink; and notes for the user.

    Raises:
        InputError: If rows are missing or broken.
    """
    if progressive and content.count(_SCAN) > _MOST_SCANS:
        raise InputError("has more scans than a photo; save it again")
    notes: list[str] = []
    try:
        pixels = _decode(content, mode)
    except ValueError as error:
        if "subsampling" in str(error):  # legal, but none of those that TurboJPEG lists
            return _by_pillow(content, mode), [
                "its chroma subsampling is a rare one; damage to its rows is not noticed"
            ]
        # With an end marker, what is whole but for that marker is decoded without a warning.
        try:
            pixels = _decode(content + _END, mode)
            notes.append("its end is missing, but no row of the picture is")
        except ValueError as warning:
            # Without restarts, the end is looked for only after the last row. Some cameras write
            # zeros before it; any other bytes are rows that damage made the decoder lose.
            after = re.search(r"(\d+) extraneous bytes before marker 0xd9", str(warning))
            padded = after is not None and bytes(int(after[1])) + _END in content + _END
            if after is None or not padded or _RESTARTS in content:
                raise InputError(f"damaged or cut short ({error}); copy it again") from error
            pixels = _decode(content, mode, strict=False)
            notes.append(f"{after[1]} bytes after the picture belong to nothing")
    if mode == "L":
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)), notes
    if mode == "CMYK":
        np.subtract(255, pixels, out=pixels)  # as Adobe's programs and all others write it
    return pixels, notes


def _by_pillow(content: bytes, mode: str) -> Pixels:
    with JpegImagePlugin.JpegImageFile(io.BytesIO(content), "") as image:
        return np.array(image if mode == "CMYK" else image.convert("RGB"))


def _decode(content: bytes, mode: str, *, strict: bool = True) -> Pixels:
    colours = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}[mode]
    return np.asarray(simplejpeg.decode_jpeg(content, colours, strict=strict))
