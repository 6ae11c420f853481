"""Reads the values of depth map files that are no photos: PFM, NPY and float TIFF."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.formats import check_size
from bokeh_runtime.imaging.tiff import decode_float_tiff, is_tiff

RAW_SUFFIXES = (".pfm", ".npy")
"""Suffixes of depth maps that are no image files."""
DEPTH_SUFFIXES = (".png", *RAW_SUFFIXES, ".tif", ".tiff", ".jpg", ".jpeg", ".webp")

Values = npt.NDArray[Any]  # float32 or float64, uint8 or uint16

_NPY_SIGNATURE = b"\x93NUMPY"
_NPY_VERSIONS = ((1, 0), (2, 0), (3, 0))
_NPY_TYPES = ("f2", "f4", "f8", "u1", "u2")


def read_raw_values(path: Path, content: bytes) -> Values | None:
    """Reads the values of a PFM, NPY or float TIFF file.

    Args:
        path: Path of the file, whose suffix selects PFM and NPY.
        content: Content of the file.

    Returns:
        [height, width, 1] as stored: float32, float64, uint8 or uint16. None for any other format.

    Raises:
        InputError: If the file is damaged, has several channels, or is too large.
    """
    suffix = path.suffix.lower()
    if suffix == ".pfm":
        return _parse_pfm(content)
    if suffix == ".npy" or content.startswith(_NPY_SIGNATURE):
        return _parse_npy(content)
    return decode_float_tiff(content) if is_tiff(content) else None


def _parse_pfm(content: bytes) -> Values:
    """Parses a PFM file (https://www.pauldebevec.com/Research/HDR/PFM/)."""
    number = rb"-?\d*\.?\d+(?:[eE][-+]?\d+)?"
    header = re.match(rb"(P[fF])\s+(\d{1,9})\s+(\d{1,9})\s+(" + number + rb")\s", content)
    if header is None or header[1] != b"Pf":
        raise InputError("not a PFM file with one channel; give one that begins with Pf")
    width, height = int(header[2]), int(header[3])
    order = "<" if float(header[4]) < 0 else ">"
    values = content[header.end() :]
    if width * height == 0 or len(values) != width * height * 4:
        raise InputError("damaged or truncated (size does not match its header); copy it again")
    rows = np.frombuffer(values, f"{order}f4").reshape(height, width, 1)
    return np.ascontiguousarray(rows[::-1], np.float32)  # PFM stores rows from bottom to top


def _parse_npy(content: bytes) -> Values:
    """Parses a NPY file without `numpy.load`, which allocates whatever the header claims."""
    file = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(file)
        if version not in _NPY_VERSIONS:
            raise InputError(f"has the unknown NPY version {version}; save it with numpy.save")
        # The header of version 3.0 differs from that of 2.0 only in the encoding of field names.
        read_header = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, is_fortran, dtype = read_header(file)
    except InputError:
        raise
    except Exception as error:  # NumPy parses the header as Python, which may raise any error
        raise InputError("is not a NPY file, or damaged; save it with numpy.save") from error
    if dtype.str[1:] not in _NPY_TYPES:
        raise InputError(f"holds values of type {dtype}; save it as float32")
    sides = [side for side in shape if side != 1]
    if len(shape) == 2:
        sides = list(shape)
    if len(sides) != 2:
        raise InputError(f"has the shape {list(shape)}; a depth map is [height, width]")
    height, width = sides
    check_size(width, height)
    values = content[file.tell() :]
    if len(values) != height * width * dtype.itemsize:
        raise InputError("damaged or truncated (size does not match its header); copy it again")
    flat = np.frombuffer(values, dtype)
    stored = flat.reshape(height, width, order="F" if is_fortran else "C")[..., np.newaxis]
    target = dtype.newbyteorder("=") if dtype.kind == "u" or dtype.itemsize > 2 else np.float32
    return np.ascontiguousarray(stored, target)
