"""Photo files: opens them as a camera app shows them, and writes them with what they carried."""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import tifffile
from PIL import ExifTags, Image, ImageCms, TiffImagePlugin, UnidentifiedImageError

from bokeh_runtime.errors import InputError
from bokeh_runtime.staging import Staging

FloatImage = npt.NDArray[np.float32]
Pixels = npt.NDArray[Any]  # uint8 or uint16

# Other decoders of Pillow stay shut: a photo may come from a stranger.
_FORMATS = ["JPEG", "PNG", "WEBP", "TIFF"]
_SUFFIXES = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
_IDENTIFYING = threading.Lock()
Image.init()  # Pillow's own call, on first use, is not made for several threads
try:
    import pillow_heif  # the extra `heic`
except ImportError:
    pass
else:
    pillow_heif.register_heif_opener()
    _FORMATS.append("HEIF")
    _SUFFIXES |= {".heic": "HEIF", ".heif": "HEIF"}

PHOTO_SUFFIXES = tuple(_SUFFIXES)
HEIC_SUFFIXES = (".heic", ".heif")
_FORMATS_WITH_ALPHA = ("PNG", "WEBP", "TIFF", "HEIF")
_MOST_PIXELS = 178_956_970  # Pillow's own bound against pictures made to fill memory
# What a TIFF says of the photo; its other tags describe the file's own layout.
_DESCRIPTIVE_TAGS = (270, 271, 272, 305, 306, 315, 33432, 34665, 34853)


@dataclass(frozen=True)
class Photo:
    """A photo as it is shown: upright, RGB.

    Attributes:
        pixels: uint8 or uint16 [height, width, 3]; grey is repeated.
        alpha: [height, width] of the same type, if the file has it.
        grey: The file has one channel; so will a file written from this.
        icc: Colour profile of `pixels`; None means sRGB.
        exif: EXIF without orientation and thumbnail, as bytes that begin with a TIFF header.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    grey: bool = False
    icc: bytes | None = None
    exif: bytes | None = None


def read_photo(path: Path) -> Photo:
    """Reads a JPEG, PNG, WebP, TIFF or (with the extra `heic`) HEIC file of 8 or 16 bits.

    Raises:
        InputError: If the file is missing, is of another format, is cut short, or is larger than
            179 megapixels.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    try:
        with _identify(content) as image:
            return _read(path, image, content)
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{path}: more than {_MOST_PIXELS // 10**6} megapixels; scale it down first"
        ) from error
    except UnidentifiedImageError as error:
        remedy = "give a JPEG, PNG, WebP or TIFF file"
        if path.suffix.lower() in HEIC_SUFFIXES and "HEIF" not in _FORMATS:
            remedy = "HEIC needs `pip install 'bokeh-tflite[heic]'`"
        raise InputError(f"{path}: does not decode as a picture; {remedy}") from error
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: damaged or cut short ({error}); copy it again") from error


def write_photo(path: Path, photo: Photo, *, quality: int = 95) -> None:
    """Writes a photo, whole or not at all, in the format that the suffix names.

    PNG and TIFF keep 16 bits, the others have 8. Alpha goes onto white where a format has none.
    A 16-bit TIFF keeps camera, date and author of the EXIF, not its other fields.

    Raises:
        InputError: If the suffix names no format, the folder is missing, or the file cannot be
            written.
    """
    encode = _encoder(path, photo, quality)
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}; make it first")
    with Staging(path.parent) as staging:
        staging.path(path.name).write_bytes(encode())
        staging.commit()


def can_write(path: Path) -> bool:
    """Says whether the suffix names a format that photos can be written in."""
    return path.suffix.lower() in _SUFFIXES


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


def to_unit(pixels: Pixels) -> FloatImage:
    """Scales unsigned integers to [0, 1] by the largest value of their type."""
    return np.asarray(pixels / np.float32(np.iinfo(pixels.dtype).max), np.float32)


def as_float(image: Any) -> FloatImage:
    """Returns what an OpenCV call returned as what it is; its own types say "any number"."""
    return np.asarray(image, np.float32)


def from_unit(image: FloatImage, dtype: np.dtype[Any]) -> Pixels:
    """Scales [0, 1] to the unsigned integers of `dtype`, rounded; values outside are clipped."""
    top = np.iinfo(dtype).max
    return np.asarray(np.rint(np.clip(image, 0, 1) * np.float32(top)), dtype)


def _identify(content: bytes) -> Image.Image:
    # Pillow warns from 89 megapixels on; a phone's panorama has more. The filters are global.
    with _IDENTIFYING, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Image.open(io.BytesIO(content), formats=_FORMATS)


def _read(path: Path, image: Image.Image, content: bytes) -> Photo:
    icc = image.info.get("icc_profile")
    if image.format in ("JPEG", "MPO") and image.mode in ("RGB", "L"):
        photo, exif = _decode_jpeg(content, grey=image.mode == "L"), image.getexif()
        orientation = exif.get(ExifTags.Base.Orientation, 1)
    elif _is_deep(image, content):
        stored = getattr(image, "tag_v2", {}).get(ExifTags.Base.Orientation)
        image.load()  # fails where the file is cut short; OpenCV fills the rest
        photo, exif = _decode_deep(content), image.getexif()
        orientation = stored or exif.get(ExifTags.Base.Orientation, 1)
    else:
        if image.mode in ("I", "F"):
            raise InputError(f"{path}: has {image.mode} pixels; give one of 8 or 16 bits")
        image.load()
        # Some of Pillow's decoders turn the picture themselves, and say so here.
        exif = image.getexif()
        orientation = exif.get(ExifTags.Base.Orientation, 1)
        photo, icc = _decode_by_pillow(image, icc)
    if icc and _colour_space(icc) != (b"GRAY" if photo.grey else b"RGB "):
        icc = None  # it does not describe these channels
    upright = _turned(photo.pixels, orientation)
    height, width = upright.shape[:2]
    return replace(
        photo,
        pixels=np.ascontiguousarray(upright),
        alpha=None if photo.alpha is None else _turned(photo.alpha, orientation),
        icc=icc,
        exif=_exif_to_keep(exif, height, width, from_tiff=image.format == "TIFF"),
    )


def _is_deep(image: Image.Image, content: bytes) -> bool:
    if image.format == "PNG":
        return content[24] == 16  # bit depth in IHDR; Pillow reads colour with 8
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        bits = image.tag_v2.get(258, (1,))
        return set(bits if isinstance(bits, tuple) else (bits,)) == {16}
    return False


def _decode_jpeg(content: bytes, *, grey: bool) -> Photo:
    # OpenCV decodes in two thirds of Pillow's time, but fills what is missing with grey.
    # Within the pictures' data the end marker cannot occur; a thumbnail's comes before it.
    if content.find(b"\xff\xd9", content.find(b"\xff\xda", _after_segments(content))) < 0:
        raise OSError("the end of the picture is missing")
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    if pixels is None:
        raise OSError("the picture's data do not decode")
    return Photo(pixels, grey=grey)


def _after_segments(content: bytes) -> int:
    """Returns where a JPEG's picture data begin: past its metadata, thumbnail included."""
    at = 2
    while content[at] == 0xFF and content[at + 1] != 0xDA:
        (length,) = struct.unpack_from(">H", content, at + 2)
        at += 2 + length
    return at


def _decode_deep(content: bytes) -> Photo:
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise OSError("the picture's data do not decode")
    if pixels.ndim == 2:
        return Photo(cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB), grey=True)
    alpha = np.ascontiguousarray(pixels[..., 3]) if pixels.shape[2] == 4 else None
    return Photo(cv2.cvtColor(pixels[..., :3], cv2.COLOR_BGR2RGB), alpha)


def _decode_by_pillow(image: Image.Image, icc: bytes | None) -> tuple[Photo, bytes | None]:
    if image.mode in ("CMYK", "LAB", "YCbCr"):
        if icc and image.mode == "CMYK":
            image = _to_srgb(image, icc)
        return Photo(np.array(image.convert("RGB"))), None
    alpha = None
    if image.has_transparency_data:
        image = image.convert("LA" if image.mode in ("L", "LA", "1") else "RGBA")
        alpha = np.array(image.getchannel("A"))
    grey = image.mode in ("L", "LA", "1")
    return Photo(np.array(image.convert("RGB")), alpha, grey), icc


def _to_srgb(image: Image.Image, icc: bytes) -> Image.Image:
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        srgb = ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, profile, srgb, outputMode="RGB") or image
    except (ImageCms.PyCMSError, OSError):  # a broken profile: the colours of no profile
        return image


def _colour_space(icc: bytes) -> bytes:
    return icc[16:20]  # ICC.1:2022, table 17


def _turned(pixels: Pixels, orientation: int) -> Pixels:
    """Applies an EXIF orientation (1 to 8; others are taken as 1)."""
    turns: dict[int, Callable[[Pixels], Pixels]] = {
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: np.swapaxes(p, 0, 1),
        6: lambda p: np.swapaxes(p[::-1], 0, 1),
        7: lambda p: np.swapaxes(p[::-1, ::-1], 0, 1),
        8: lambda p: np.swapaxes(p[:, ::-1], 0, 1),
    }
    return turns[orientation](pixels) if orientation in turns else pixels


def _exif_to_keep(exif: Image.Exif, height: int, width: int, *, from_tiff: bool) -> bytes | None:
    details = exif.get_ifd(ExifTags.IFD.Exif)
    for tag, size in ((ExifTags.Base.ExifImageWidth, width), (40963, height)):
        if tag in details:
            details[tag] = size
    exif.get_ifd(ExifTags.IFD.GPSInfo)  # loads it, so that it is written too
    for tag in list(exif):
        if tag == ExifTags.Base.Orientation or (from_tiff and tag not in _DESCRIPTIVE_TAGS):
            del exif[tag]
    if not exif:
        return None
    try:
        return exif.tobytes().removeprefix(b"Exif\0\0")
    except (ValueError, TypeError, struct.error):
        return None  # malformed fields must not cost the picture


def _encoder(path: Path, photo: Photo, quality: int) -> Callable[[], bytes]:
    name = _SUFFIXES.get(path.suffix.lower())
    if name is None:
        raise InputError(f"{path}: no picture format of that suffix; use .jpg or .png")
    if photo.alpha is not None and name not in _FORMATS_WITH_ALPHA:
        photo = _on_white(photo)
    if photo.pixels.dtype == np.uint16:
        if name == "PNG":
            return lambda: _encode_deep_png(photo)
        if name == "TIFF":
            return lambda: _encode_deep_tiff(photo)
        photo = replace(
            photo,
            pixels=_to_eight_bits(photo.pixels),
            alpha=None if photo.alpha is None else _to_eight_bits(photo.alpha),
        )
    return lambda: _encode_by_pillow(photo, name, quality)


def _to_eight_bits(pixels: Pixels) -> Pixels:
    return np.asarray((pixels.astype(np.uint32) * 255 + 32767) // 65535, np.uint8)


def _on_white(photo: Photo) -> Photo:
    assert photo.alpha is not None
    cover = to_unit(photo.alpha)[..., np.newaxis]
    pixels = from_unit(to_unit(photo.pixels) * cover + (1 - cover), photo.pixels.dtype)
    return replace(photo, pixels=pixels, alpha=None)


def _channels(photo: Photo) -> Pixels:
    """Returns the channels as a file holds them: grey once, alpha last."""
    pixels = cv2.cvtColor(photo.pixels, cv2.COLOR_RGB2GRAY) if photo.grey else photo.pixels
    return pixels if photo.alpha is None else np.dstack([pixels, photo.alpha])


def _encode_by_pillow(photo: Photo, name: str, quality: int) -> bytes:
    options: dict[str, dict[str, Any]] = {
        "JPEG": {"quality": quality, "subsampling": "4:2:0"},
        "PNG": {"compress_level": 3},  # the default, 6, takes seconds for a large photo
        "WEBP": {"quality": quality, "method": 2},
        "TIFF": {},  # Pillow writes EXIF into uncompressed files alone
        "HEIF": {"quality": quality},
    }
    file = io.BytesIO()
    carried: dict[str, Any] = {"icc_profile": photo.icc} if photo.icc else {}
    if photo.exif:
        carried["exif"] = _parsed(photo.exif)
    Image.fromarray(_channels(photo)).save(file, name, **options[name], **carried)
    return file.getvalue()


def _parsed(content: bytes) -> Image.Exif:
    exif = Image.Exif()
    exif.load(content)
    for part in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        exif.get_ifd(part)  # loads it, so that it is written too
    return exif


def _encode_deep_png(photo: Photo) -> bytes:
    channels = _channels(photo)
    if not photo.grey:
        swap = cv2.COLOR_RGB2BGR if photo.alpha is None else cv2.COLOR_RGBA2BGRA
        channels = cv2.cvtColor(channels, swap)
    elif photo.alpha is not None:  # OpenCV writes no grey with alpha
        channels = np.dstack([channels[..., :1]] * 3 + [photo.alpha])
    content = cv2.imencode(".png", channels)[1].tobytes()
    # OpenCV writes no metadata: their chunks go in behind the header (PNG 3rd edition, 11.3).
    chunks = b""
    if photo.icc:
        chunks += _png_chunk(b"iCCP", b"ICC\0\0" + zlib.compress(photo.icc))
    if photo.exif:
        chunks += _png_chunk(b"eXIf", photo.exif)
    header = 8 + 25  # signature, IHDR
    return content[:header] + chunks + content[header:]


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _encode_deep_tiff(photo: Photo) -> bytes:
    tags = _parsed(photo.exif or b"")
    kept = [(tag, 2, 0, str(tags[tag]), True) for tag in _DESCRIPTIVE_TAGS[1:7] if tag in tags]
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        _channels(photo),
        photometric="minisblack" if photo.grey else "rgb",
        planarconfig="contig",
        extrasamples=None if photo.alpha is None else ["unassalpha"],
        compression="zlib",
        iccprofile=photo.icc,
        extratags=kept,
        metadata=None,
        software=False,
    )
    return file.getvalue()
