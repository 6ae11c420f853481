"""The formats of photos: their suffixes, how a file is told, and how large one may be."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, ImageFile, JpegImagePlugin, features

from bokeh_runtime.errors import InputError

# Other decoders of Pillow stay shut: a photo may come from a stranger.
SUFFIXES = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
HEIC_SUFFIXES = (".heic", ".heif")
AVIF_SUFFIXES = (".avif",)
Image.init()  # Pillow's own call, on first use, is not made for several threads
try:
    import pillow_heif  # the extra `heic`
except ImportError:
    pass
else:
    pillow_heif.register_heif_opener()
    SUFFIXES |= dict.fromkeys(HEIC_SUFFIXES, "HEIF")
if features.check("avif"):  # in the wheels of Pillow, not in every distribution's
    SUFFIXES |= dict.fromkeys(AVIF_SUFFIXES, "AVIF")

# The largest cameras and phones have 200 megapixels. A folder of such photos takes up to 14 bytes a
# pixel (two photos, one being read and one being written): 3.6 GB, twice that for 16 bits.
MAX_PIXELS = 256_000_000
_FORMATS = tuple(dict.fromkeys(SUFFIXES.values()))
_AVIF_BRANDS, _HEIC_BRANDS = (b"avif", b"avis"), (b"heic", b"heix", b"hevc", b"mif1", b"msf1")
_PILLOW = threading.Lock()


@contextmanager
def pillow_quiet() -> Iterator[None]:
    """Drops what Pillow has to warn of; one thread at a time, for the filters are global."""
    with _PILLOW, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def identify(content: bytes) -> ImageFile.ImageFile:
    """Opens a picture without decoding it.

    `Image.open` has a bound of its own, which is global and lower than a phone's photos; so its
    decoders are called here one by one.

    Raises:
        InputError: If the content is of no known format, or of a kind that no decoder here reads.
    """
    prefix = content[:16]
    for name in _FORMATS:
        factory, accept = Image.OPEN[name]
        accepted = accept is None or accept(prefix)
        if not accepted or isinstance(accepted, str):
            continue
        if name == "JPEG":  # what comes after the first picture is not read
            factory = JpegImagePlugin.JpegImageFile
        try:
            return factory(io.BytesIO(content), "")
        except Exception as error:  # a decoder may raise anything for what it cannot read
            cause = " ".join(str(error).split()) or type(error).__name__
            raise InputError(
                f"does not decode as {name} ({cause}); save it again as an 8-bit JPEG or PNG"
            ) from error
    raise InputError(f"does not decode as a picture; {_remedy(prefix)}")


def check_size(width: int, height: int) -> None:
    """Checks the size that a file claims, before memory is taken for it.

    Raises:
        InputError: If it has no pixels, or more than `MAX_PIXELS`.
    """
    if width < 1 or height < 1:
        raise InputError(f"has no pixels ({width} x {height}); copy it again")
    if width * height > MAX_PIXELS:
        raise InputError(
            f"{width} x {height} is more than {MAX_PIXELS // 10**6} megapixels; scale it down first"
        )


def _remedy(prefix: bytes) -> str:
    brand = prefix[8:12] if prefix[4:8] == b"ftyp" else b""
    if brand in _HEIC_BRANDS and "HEIF" not in _FORMATS:
        return "HEIC needs `pip install 'bokeh-tflite[heic]'`"
    if brand in _AVIF_BRANDS and "AVIF" not in _FORMATS:
        return "AVIF needs a Pillow built with it; `pip install --force-reinstall pillow` has it"
    return "give a JPEG, PNG, WebP, AVIF or TIFF file"
