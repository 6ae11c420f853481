"""Photo files: opens them as a camera app shows them, and writes them with what they carried."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bokeh_runtime.atomic_output import AtomicOutput
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
    "save_photo",
    "to_unit",
    "write_photo",
]

PHOTO_SUFFIXES = tuple(SUFFIXES)
KNOWN_SUFFIXES = tuple(dict.fromkeys((*SUFFIXES, *HEIC_SUFFIXES, *AVIF_SUFFIXES)))
"""Those of formats that need more than is installed too: reading such a file says what."""


def read_photo(path: Path) -> Photo:
    """Reads a JPEG, PNG, WebP, AVIF, TIFF or (with the extra `heic`) HEIC file of 8 or 16 bits.

    Of a file with several pictures the first is read. A JPEG that lacks its end, but no row, is
    read too. `Photo.notes` says both.

    Raises:
        InputError: If the file is missing, is of another format or kind, is damaged or cut short,
            or has more than 256 megapixels (`MAX_PIXELS`).
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    try:
        return decode(content)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except MemoryError as error:
        raise InputError(f"{path}: needs more memory than there is; scale it down first") from error
    except Exception as error:  # decoders are many, and may raise anything for a damaged file
        cause = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: damaged or cut short ({cause}); copy it again") from error


def write_photo(path: Path, photo: Photo, *, quality: int = 95) -> None:
    """Writes a photo, whole or not at all, in the format that the suffix names.

    PNG and TIFF keep 16 bits, the others have 8. Alpha goes onto white where a format has none.
    A 16-bit TIFF keeps camera, date and author of the EXIF, not its other fields.

    Raises:
        InputError: If the suffix names no format, the folder is missing, the format does not hold
            such a photo (WebP ends at 16,383 pixels a side), or the file cannot be written.
    """
    name = SUFFIXES.get(path.suffix.lower())
    if name is None:
        raise InputError(f"{path}: no picture format of that suffix; use .jpg or .png")
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}; make it first")
    with AtomicOutput(path.parent) as staging:
        try:
            content = encode(photo, name, quality)
        except Exception as error:  # encoders are many, and each has its own bounds and errors
            raise InputError(
                f"{path}: {name} does not hold this photo ({error}); use .jpg or .png"
            ) from error
        staging.path(path.name).write_bytes(content)
        staging.commit()


def can_write(path: Path) -> bool:
    """Says whether the suffix names a format that photos can be written in."""
    return path.suffix.lower() in SUFFIXES


def open_photo(path: Path) -> FloatImage:
    """Reads a photo as float [height, width, 3], RGB, in [0, 1]; see `read_photo`.

    Raises:
        InputError: If the file is missing or does not decode.
    """
    return to_unit(read_photo(path).pixels)


def save_photo(path: Path, image: FloatImage) -> None:
    """Writes float [height, width, 3], RGB, in [0, 1], with 8 bits; see `write_photo`.

    Raises:
        InputError: If the suffix names no format, or the file cannot be written.
    """
    write_photo(path, Photo(from_unit(image, np.dtype(np.uint8))))
