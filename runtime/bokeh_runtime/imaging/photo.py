"""Reads and writes photo files with their alpha, ICC profile and EXIF."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bokeh_runtime.atomic_output import AtomicOutput, refuse_folder
from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.decode import decode
from bokeh_runtime.imaging.encode import encode
from bokeh_runtime.imaging.formats import AVIF_SUFFIXES, HEIC_SUFFIXES, MAX_PIXELS, SUFFIXES
from bokeh_runtime.imaging.picture import FloatImage, Photo, Pixels, as_float, from_unit, to_unit

__all__ = [
    "KNOWN_SUFFIXES",
    "MAX_PIXELS",
    "PHOTO_SUFFIXES",
    "FloatImage",
    "Photo",
    "Pixels",
    "as_float",
    "can_write",
    "from_unit",
    "open_photo",
    "read_photo",
    "refuse_unwritable",
    "save_photo",
    "to_unit",
    "write_photo",
]

PHOTO_SUFFIXES = tuple(SUFFIXES)
KNOWN_SUFFIXES = tuple(dict.fromkeys((*SUFFIXES, *HEIC_SUFFIXES, *AVIF_SUFFIXES)))
"""All suffixes of photos, including formats whose decoder is not installed."""


def read_photo(path: Path) -> Photo:
    """Reads a photo with 8 or 16 bits: JPEG, PNG, WebP, AVIF, TIFF or, with the extra `heic`, HEIC.

    Of a file with several images, the first is read. A JPEG that lacks only its end marker is read
    too. `Photo.notes` mentions both.

    Raises:
        InputError: If the file is missing, its format or pixel type is not supported, it is damaged
            or truncated, or has more than 256 megapixels (`MAX_PIXELS`).
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    try:
        return decode(content)
    except InputError as error:
        raise InputError(f"{path}: ", error) from error
    except MemoryError as error:
        raise InputError(f"{path}: not enough memory; scale it down first") from error
    except Exception as error:  # a decoder may raise any error for a damaged file
        cause = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: damaged or truncated ({cause}); copy it again") from error


def write_photo(path: Path, photo: Photo, *, quality: int = 95) -> None:
    """Writes a photo atomically, in the format that the suffix selects.

    PNG and TIFF keep 16 bits; other formats are written with 8. For formats without alpha, the
    photo is blended on white. A 16-bit TIFF keeps only camera, date and author of the EXIF.

    Args:
        path: Path of the file.
        photo: The photo.
        quality: Encoder quality of JPEG, WebP, HEIC and AVIF, 1 to 100.

    Raises:
        InputError: If the suffix is unknown, the folder does not exist, the format cannot store the
            photo (WebP allows 16,383 pixels a side), or the file cannot be written.
    """
    format_name = refuse_unwritable(path)
    with AtomicOutput(path.parent) as output:
        try:
            content = encode(photo, format_name, quality)
        except Exception as error:  # each encoder has its own limits and errors
            raise InputError(
                f"{path}: {format_name} cannot store this photo ({error}); use .jpg or .png"
            ) from error
        output.path(path.name).write_bytes(content)
        output.commit()


def refuse_unwritable(path: Path) -> str:
    """Checks the path of a photo before there is anything to write.

    Returns:
        Pillow's name of the format that the suffix selects.

    Raises:
        InputError: If the suffix is unknown, the folder does not exist, or the path is a folder.
    """
    format_name = SUFFIXES.get(path.suffix.lower())
    if format_name is None:
        raise InputError(f"{path}: its suffix is no image format; use .jpg or .png")
    if not path.parent.is_dir():
        raise InputError(f"{path}: folder {path.parent} does not exist; create it first")
    refuse_folder(path)
    return format_name


def can_write(path: Path) -> bool:
    """Returns whether photos can be written in the format of the suffix."""
    return path.suffix.lower() in SUFFIXES


def open_photo(path: Path) -> FloatImage:
    """Reads a photo as an array; see `read_photo`.

    Returns:
        float32 [height, width, 3], RGB, in [0, 1].

    Raises:
        InputError: If the file is missing or cannot be decoded.
    """
    return to_unit(read_photo(path).pixels)


def save_photo(path: Path, image: FloatImage) -> None:
    """Writes an array as a photo with 8 bits; see `write_photo`.

    Args:
        path: Path of the file.
        image: float32 [height, width, 3], RGB, in [0, 1].

    Raises:
        InputError: If the suffix is unknown, or the file cannot be written.
    """
    write_photo(path, Photo(from_unit(image, np.dtype(np.uint8))))
