"""Photo formats: their suffixes, format detection, and the limit on the size of an image."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, ImageFile, JpegImagePlugin, features

from bokeh_runtime.errors import InputError

# No other decoder of Pillow is used, since a photo may come from an untrusted source.
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
Image.init()  # Pillow would call it on first use, which is not thread-safe
try:
    import pillow_heif  # the extra `heic`
except ImportError:
    pass
else:
    pillow_heif.register_heif_opener()
    SUFFIXES |= dict.fromkeys(HEIC_SUFFIXES, "HEIF")
if features.check("avif"):  # Pillow's wheels have it, some Linux distributions' builds do not
    SUFFIXES |= dict.fromkeys(AVIF_SUFFIXES, "AVIF")

# The largest cameras and phones have 200 megapixels. Rendering a folder takes up to 14 bytes per
# pixel, since one photo is decoded while another is rendered: 3.6 GB, or twice that for 16 bits.
MAX_PIXELS = 256_000_000
_FORMATS = tuple(dict.fromkeys(SUFFIXES.values()))
_AVIF_BRANDS, _HEIC_BRANDS = (b"avif", b"avis"), (b"heic", b"heix", b"hevc", b"mif1", b"msf1")
_PILLOW = threading.Lock()


@contextmanager
def pillow_warnings_ignored() -> Iterator[None]:
    """Ignores Pillow's warnings. One thread at a time, since warning filters are global."""
    with _PILLOW, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def identify(content: bytes) -> ImageFile.ImageFile:
    """Opens an image without decoding its pixels.

    Pillow's decoders are called directly, since `Image.open` has a global size limit that is lower
    than the photos of some phones.

    Raises:
        InputError: If the format is unknown or not supported, or the header is damaged.
    """
    prefix = content[:16]
    for name in _FORMATS:
        factory, accept = Image.OPEN[name]
        accepted = accept is None or accept(prefix)
        if not accepted or isinstance(accepted, str):
            continue
        if name == "JPEG":  # reads the first image only, unlike Pillow's factory for JPEG
            factory = JpegImagePlugin.JpegImageFile
        try:
            return factory(io.BytesIO(content), "")
        except Exception as error:  # a decoder may raise any error for an invalid file
            cause = " ".join(str(error).split()) or type(error).__name__
            raise InputError(
                f"cannot be decoded as {name} ({cause}); save it again as an 8-bit JPEG or PNG"
            ) from error
    raise InputError(f"is not an image of a supported format; {_unknown_format_remedy(prefix)}")


def check_size(width: int, height: int) -> None:
    """Checks the image size in a file's header, before memory is allocated for it.

    Args:
        width: Width in pixels.
        height: Height in pixels.

    Raises:
        InputError: If the image has no pixels, or more than `MAX_PIXELS`.
    """
    if width < 1 or height < 1:
        raise InputError(f"has no pixels ({width} x {height}); copy it again")
    if width * height > MAX_PIXELS:
        raise InputError(
            f"{width} x {height} is more than {MAX_PIXELS // 10**6} megapixels; scale it down first"
        )


def _unknown_format_remedy(prefix: bytes) -> str:
    brand = prefix[8:12] if prefix[4:8] == b"ftyp" else b""
    if brand in _HEIC_BRANDS and "HEIF" not in _FORMATS:
        return "for HEIC, run `pip install 'bokeh-tflite[heic]'`"
    if brand in _AVIF_BRANDS and "AVIF" not in _FORMATS:
        return "AVIF needs a Pillow with AVIF support; run `pip install --force-reinstall pillow`"
    return "give a JPEG, PNG, WebP, AVIF or TIFF file"
