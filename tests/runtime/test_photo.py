from __future__ import annotations

import io
import os
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, ImageCms, features

from bokeh_runtime import InputError, Photo, open_photo, read_photo, save_photo, write_photo
from bokeh_runtime.imaging import formats
from bokeh_runtime.imaging.encode import lost_exif
from helpers.skips import ELSEWHERE

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SUFFIXES = [".jpg", ".png", ".webp", ".tif", ".heic", ".avif"]
TOLERANCE = {".jpg": 12, ".webp": 12, ".heic": 12, ".avif": 16}
LOSSLESS = [".png", ".tif"]


def decoder_or_skip(suffix: str) -> None:
    if suffix == ".heic":
        pytest.importorskip("pillow_heif", reason=f"{ELSEWHERE}no HEIC decoder")
    if suffix == ".avif" and not features.check("avif"):
        pytest.skip(f"{ELSEWHERE}this Pillow has no AVIF")


def camera_exif(orientation: int = 1) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Maker"
    exif[ExifTags.Base.Orientation] = orientation
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLength] = 4.25
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExifImageWidth] = 32
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
    loaded = Image.Exif()
    loaded.load(exif.tobytes())
    return loaded


def smooth(height: int = 16, width: int = 32) -> np.ndarray:
    """No two corners alike, and smooth, so that lossy formats keep it."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.dstack([rows * 200 // height, columns * 200 // width, rows * 0 + 90]).astype(np.uint8)


@pytest.mark.parametrize("name", ["a.png", "b b.png", "фото.png", "写真.png"])
def test_eight_bits_are_scaled_to_one(name: str, tmp_path: Path) -> None:
    Image.fromarray(np.array([[[255, 51, 0], [0, 102, 255]]], np.uint8)).save(tmp_path / name)
    np.testing.assert_allclose(open_photo(tmp_path / name), [[[1, 0.2, 0], [0, 0.4, 1]]], atol=1e-6)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_applied_once(suffix: str, orientation: int, tmp_path: Path) -> None:
    decoder_or_skip(suffix)
    upright = smooth()
    # How a camera held so would have stored it; Pillow is the oracle on the way back.
    back = {5: 5, 6: 8, 7: 7, 8: 6}.get(orientation, orientation)
    stored = _oracle(Image.fromarray(upright), back)
    if suffix == ".heic":  # turned by the decoder, whatever EXIF says
        stored = Image.fromarray(upright)
    path, again = tmp_path / f"turned{suffix}", tmp_path / f"again{suffix}"
    options = {} if suffix in LOSSLESS else {"quality": 98}
    stored.save(path, exif=camera_exif(orientation), **options)
    photo = read_photo(path)
    np.testing.assert_allclose(photo.pixels.astype(int), upright, atol=TOLERANCE.get(suffix, 0))
    write_photo(again, photo)
    with Image.open(again) as written:
        assert written.getexif().get(ExifTags.Base.Orientation, 1) == 1
        assert written.size == (32, 16)
    np.testing.assert_allclose(
        read_photo(again).pixels.astype(int), upright, atol=TOLERANCE.get(suffix, 0)
    )


def _oracle(image: Image.Image, orientation: int) -> Image.Image:
    from PIL import ImageOps

    image.getexif()[ExifTags.Base.Orientation] = orientation
    return ImageOps.exif_transpose(image)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_icc_profile_and_exif_are_kept(suffix: str, tmp_path: Path) -> None:
    decoder_or_skip(suffix)
    path, again = tmp_path / f"photo{suffix}", tmp_path / f"again{suffix}"
    Image.fromarray(smooth()).save(path, exif=camera_exif(6), icc_profile=SRGB)
    write_photo(again, read_photo(path))
    with Image.open(again) as written:
        assert written.info["icc_profile"] == SRGB
        exif = written.getexif()
        assert exif[ExifTags.Base.Make] == "Maker"
        details = exif.get_ifd(ExifTags.IFD.Exif)
        assert float(details[ExifTags.Base.FocalLength]) == 4.25
        assert exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] == "N"
        assert details[ExifTags.Base.ExifImageWidth] == written.size[0]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("bits", [8, 16])
def test_text_that_is_not_ascii_is_kept_byte_for_byte(
    suffix: str, bits: int, tmp_path: Path
) -> None:
    decoder_or_skip(suffix)
    texts = {
        ExifTags.Base.Artist: "Jürgen".encode(),
        ExifTags.Base.Copyright: "© 日本".encode(),
        ExifTags.Base.ImageDescription: "café".encode("latin-1"),
    }
    exif = camera_exif()
    for tag, text in texts.items():
        exif[tag] = text
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.LensModel] = "Optik für Ä".encode()
    Image.fromarray(smooth()).save(tmp_path / "photo.jpg", exif=exif)
    photo = read_photo(tmp_path / "photo.jpg")
    if bits == 16:
        photo = replace(photo, pixels=photo.pixels.astype(np.uint16) * 257)
    write_photo(tmp_path / f"again{suffix}", photo)
    content = (tmp_path / f"again{suffix}").read_bytes()
    assert all(text in content for text in texts.values())
    keeps_all = lost_exif(photo, formats.SUFFIXES[suffix]) is None
    assert keeps_all == ("Optik für Ä".encode() in content)
    assert keeps_all == (bits == 8 or suffix != ".tif")


def test_the_outdated_thumbnail_is_dropped(tmp_path: Path) -> None:
    thumbnail = io.BytesIO()
    Image.fromarray(smooth()).save(thumbnail, "JPEG")
    exif = camera_exif()
    first = exif.get_ifd(ExifTags.IFD.IFD1)
    first[ExifTags.Base.JpegIFOffset] = 500
    first[ExifTags.Base.JpegIFByteCount] = len(thumbnail.getvalue())
    Image.fromarray(smooth()).save(tmp_path / "photo.jpg", exif=exif)
    photo = read_photo(tmp_path / "photo.jpg")
    kept = Image.Exif()
    kept.load(photo.exif or b"")
    assert kept[ExifTags.Base.Make] == "Maker"
    assert not kept.get_ifd(ExifTags.IFD.IFD1)


@pytest.mark.parametrize("suffix", LOSSLESS)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_stay_sixteen_bits(
    suffix: str, channels: int, tmp_path: Path, rng: np.random.Generator
) -> None:
    stored = rng.integers(0, 65536, (6, 8, channels)).astype(np.uint16)
    path, again = tmp_path / f"deep{suffix}", tmp_path / f"again{suffix}"
    order = [0] if channels == 1 else [2, 1, 0, 3][:channels]
    cv2.imwrite(str(path), stored[..., order])
    photo = read_photo(path)
    assert photo.grey == (channels == 1)
    np.testing.assert_array_equal(photo.pixels, np.broadcast_to(stored[..., :3], (6, 8, 3)))
    write_photo(again, Photo(photo.pixels, photo.alpha, photo.grey, SRGB, photo.exif))
    reread = read_photo(again)
    np.testing.assert_array_equal(reread.pixels, photo.pixels)
    if channels == 4:
        np.testing.assert_array_equal(reread.alpha, stored[..., 3])
    if channels > 1:
        assert reread.icc == SRGB


def test_metadata_of_16_bit_photos_is_kept_as_far_as_the_format_allows(tmp_path: Path) -> None:
    exif = camera_exif().tobytes().removeprefix(b"Exif\0\0")
    photo = Photo(smooth().astype(np.uint16) * 257, icc=SRGB, exif=exif)
    write_photo(tmp_path / "deep.png", photo)
    with Image.open(tmp_path / "deep.png") as written:
        assert written.getexif().get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLength] == 4.25
        assert written.info["icc_profile"] == SRGB
    write_photo(tmp_path / "deep.tif", photo)
    with tifffile.TiffFile(tmp_path / "deep.tif") as written:
        assert written.pages.first.tags[271].value == "Maker"
    write_photo(tmp_path / "eight.jpg", photo)
    np.testing.assert_allclose(read_photo(tmp_path / "eight.jpg").pixels, smooth(), atol=12)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_alpha_is_kept_by_formats_with_alpha(suffix: str, tmp_path: Path) -> None:
    alpha = np.linspace(0, 255, 16 * 32).reshape(16, 32).astype(np.uint8)
    path, again = tmp_path / f"alpha{suffix}", tmp_path / f"again{suffix}"
    options = {"lossless": True, "exact": True} if suffix == ".webp" else {}
    Image.fromarray(np.dstack([smooth(), alpha])).save(path, **options)
    photo = read_photo(path)
    np.testing.assert_array_equal(photo.alpha, alpha)
    write_photo(again, photo)
    np.testing.assert_allclose(read_photo(again).alpha, alpha, atol=2)


def test_alpha_is_blended_on_white_for_formats_without_alpha(tmp_path: Path) -> None:
    pixels = np.zeros((16, 16, 3), np.uint8)
    alpha = np.zeros((16, 16), np.uint8)
    alpha[8:] = 255
    write_photo(tmp_path / "flat.jpg", Photo(pixels, alpha))
    flat = read_photo(tmp_path / "flat.jpg").pixels
    assert flat[:7].min() > 245
    assert flat[9:].max() < 10


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_grey_stays_grey(suffix: str, tmp_path: Path) -> None:
    Image.fromarray(smooth()[..., 0]).save(tmp_path / f"grey{suffix}")
    photo = read_photo(tmp_path / f"grey{suffix}")
    assert photo.pixels.shape == (16, 32, 3)
    write_photo(tmp_path / f"again{suffix}", photo)
    with Image.open(tmp_path / f"again{suffix}") as written:
        assert written.mode == "L"


def test_other_colour_modes_become_rgb(tmp_path: Path) -> None:
    image = Image.fromarray(smooth())
    image.convert("CMYK").save(tmp_path / "print.jpg", icc_profile=SRGB)
    photo = read_photo(tmp_path / "print.jpg")
    assert photo.icc is None  # it described four inks, or lied
    assert photo.pixels.shape == (16, 32, 3)
    image.quantize(16).save(tmp_path / "palette.png", transparency=0)
    photo = read_photo(tmp_path / "palette.png")
    assert photo.alpha is not None
    Image.fromarray(smooth()[..., 0] > 100).save(tmp_path / "bits.png")
    assert read_photo(tmp_path / "bits.png").grey


def test_a_profile_of_other_channels_is_not_kept(tmp_path: Path) -> None:
    Image.fromarray(smooth()[..., 0]).save(tmp_path / "grey.png", icc_profile=SRGB)
    assert read_photo(tmp_path / "grey.png").icc is None


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
def test_a_truncated_photo_is_refused(
    suffix: str, share: float, tmp_path: Path, scene: np.ndarray
) -> None:
    decoder_or_skip(suffix)
    thumbnail = camera_exif()
    Image.fromarray(scene).save(tmp_path / f"whole{suffix}", exif=thumbnail)
    content = (tmp_path / f"whole{suffix}").read_bytes()
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match=rf"cut\{suffix}: "):
        read_photo(path)


def test_a_truncated_16_bit_photo_is_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    deep = rng.integers(0, 65536, (64, 64, 3)).astype(np.uint16)
    for suffix in LOSSLESS:
        content = cv2.imencode(suffix, deep)[1].tobytes()
        (tmp_path / f"cut{suffix}").write_bytes(content[: len(content) * 2 // 3])
        with pytest.raises(InputError, match=f"cut{suffix}: "):
            read_photo(tmp_path / f"cut{suffix}")


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (None, "cannot be read"),
        (b"", "is not an image of a supported format"),
        (b"no picture", "is not an image of a supported format"),
        (b"GIF89a" + bytes(40), "is not an image of a supported format"),
        (b"\xff\xd8\xff\xd9", "is not an image of|truncated|cannot be decoded"),
    ],
)
def test_an_invalid_photo_is_refused(content: bytes | None, cause: str, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=cause):
        open_photo(path)


def test_large_photos_are_read_without_a_warning_and_huge_ones_refused(tmp_path: Path) -> None:
    Image.new("L", (10_000, 10_000)).save(tmp_path / "large.png")  # 100 megapixels
    assert read_photo(tmp_path / "large.png").pixels.shape == (10_000, 10_000, 3)
    Image.new("1", (20_000, 20_000)).save(tmp_path / "absurd.png")
    with pytest.raises(InputError, match="more than 256 megapixels"):
        read_photo(tmp_path / "absurd.png")


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def deep_png(pixels: np.ndarray, colour_type: int, chunks: bytes = b"") -> bytes:
    """Written by hand from the standard (PNG 3rd edition, 5.3 and 9.2)."""
    height, width = pixels.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    end = png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + chunks + end


@pytest.mark.parametrize(("colour_type", "channels"), [(0, 1), (4, 2), (2, 3), (6, 4)])
@pytest.mark.parametrize("transparent", [False, True])
def test_png_of_sixteen_bits(
    colour_type: int, channels: int, transparent: bool, tmp_path: Path, rng: np.random.Generator
) -> None:
    stored = rng.integers(0, 65536, (6, 8, channels)).astype(np.uint16)
    chunks = png_chunk(b"gAMA", struct.pack(">I", 45_455))
    if transparent and channels in (1, 3):
        chunks += png_chunk(b"tRNS", stored[2, 3].astype(">u2").tobytes())
    (tmp_path / "deep.png").write_bytes(deep_png(stored, colour_type, chunks))
    photo = read_photo(tmp_path / "deep.png")
    colour = stored[..., :1] if channels < 3 else stored[..., :3]
    np.testing.assert_array_equal(photo.pixels, np.broadcast_to(colour, (6, 8, 3)))
    assert photo.grey == (channels < 3)
    if channels in (2, 4):
        np.testing.assert_array_equal(photo.alpha, stored[..., -1])
    elif transparent:
        hidden = (stored == stored[2, 3]).all(axis=2)
        np.testing.assert_array_equal(photo.alpha, np.where(hidden, 0, 65535))
    else:
        assert photo.alpha is None
    write_photo(tmp_path / "again.png", photo)
    again = read_photo(tmp_path / "again.png")
    np.testing.assert_array_equal(again.pixels, photo.pixels)
    assert again.grey == photo.grey
    if photo.alpha is not None:
        np.testing.assert_array_equal(again.alpha, photo.alpha)


@pytest.mark.parametrize(("primaries", "transfer", "note_count"), [(1, 13, 0), (9, 16, 1)])
def test_a_colour_space_that_is_not_kept_is_noted(
    primaries: int, transfer: int, note_count: int, tmp_path: Path
) -> None:
    chunk = png_chunk(b"cICP", bytes([primaries, transfer, 0, 1]))
    content = deep_png(np.zeros((4, 4, 3), np.uint16), 2, chunk)
    (tmp_path / "photo.png").write_bytes(content)
    assert len(read_photo(tmp_path / "photo.png").notes) == note_count


@pytest.mark.parametrize(
    ("primaries", "transfer", "notes"),
    [
        (1, 13, ()),
        (2, 2, ()),
        (1, 1, ()),
        (12, 13, ("its colour space (nclx, primaries 12, transfer 13) is ignored; it is taken as"
                  " sRGB",)),
        (9, 16, ("its colour space (nclx, primaries 9, transfer 16) is ignored; it is taken as"
                 " sRGB",)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("suffix", [".avif", ".heic"])
def test_a_colour_space_by_code_points_is_noted(
    suffix: str, primaries: int, transfer: int, notes: tuple[str, ...], tmp_path: Path
) -> None:
    decoder_or_skip(suffix)
    path = tmp_path / f"photo{suffix}"
    Image.fromarray(smooth()).save(path)
    srgb = b"colrnclx" + struct.pack(">HH", 1, 13)
    content = path.read_bytes()
    assert content.count(srgb) == 1
    path.write_bytes(content.replace(srgb, b"colrnclx" + struct.pack(">HH", primaries, transfer)))
    assert read_photo(path).notes == notes
    # With a profile, the code points mean nothing.
    Image.fromarray(smooth()).save(path, icc_profile=SRGB)
    content = path.read_bytes()
    path.write_bytes(content.replace(srgb, b"colrnclx" + struct.pack(">HH", primaries, transfer)))
    assert read_photo(path).notes == ()


@pytest.mark.parametrize(
    ("suffix", "options"),
    [(".png", {}), (".webp", {"lossless": True}), (".avif", {"quality": 100}), (".tif", {})],
)
def test_the_first_of_several_images_is_read(
    suffix: str, options: dict[str, object], tmp_path: Path
) -> None:
    decoder_or_skip(suffix)
    first, second = Image.fromarray(smooth()), Image.fromarray(smooth()[::-1].copy())
    path = tmp_path / f"photo{suffix}"
    first.save(path, save_all=True, append_images=[second], **options)
    photo = read_photo(path)
    tolerance = TOLERANCE.get(suffix, 0) if suffix == ".avif" else 0
    np.testing.assert_allclose(photo.pixels.astype(int), smooth(), atol=tolerance)
    (note,) = photo.notes
    assert note.startswith("has several ")
    assert note.endswith("the first is read")


@pytest.mark.parametrize(
    ("brand", "missing", "remedy"),
    [
        (b"avif", "AVIF", "AVIF needs a Pillow with AVIF support"),
        (b"heic", "HEIF", "bokeh-tflite\\[heic\\]"),
    ],
)
def test_a_missing_decoder_is_reported_with_the_package_to_install(
    brand: bytes, missing: str, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = tuple(name for name in formats._FORMATS if name != missing)
    monkeypatch.setattr("bokeh_runtime.imaging.formats._FORMATS", left)
    (tmp_path / "photo.bin").write_bytes(b"\0\0\0\x18ftyp" + brand + bytes(40))
    with pytest.raises(InputError, match=remedy):
        read_photo(tmp_path / "photo.bin")


def test_a_heic_gain_map_is_noted(tmp_path: Path) -> None:
    decoder_or_skip(".heic")
    path = tmp_path / "photo.heic"
    Image.fromarray(smooth()).save(path)
    assert read_photo(path).notes == ()
    # As in the property that marks an auxiliary picture (ISO/IEC 23008-12, 6.5.8).
    path.write_bytes(path.read_bytes() + b"\0\0\0\x30freeurn:com:apple:photo:2020:aux:hdrgainmap\0")
    assert "HDR gain map" in read_photo(path).notes[0]


def test_several_threads_may_read(tmp_path: Path, scene: np.ndarray) -> None:
    save_photo(tmp_path / "photo.png", scene / np.float32(255))
    with ThreadPoolExecutor(4) as pool:
        for photo in pool.map(read_photo, [tmp_path / "photo.png"] * 8):
            np.testing.assert_array_equal(photo.pixels, scene)


def test_saving_and_opening_keeps_the_pixels(tmp_path: Path, rng: np.random.Generator) -> None:
    image = (rng.integers(0, 256, (4, 5, 3)) / 255).astype(np.float32)
    save_photo(tmp_path / "ü.png", image)
    np.testing.assert_allclose(open_photo(tmp_path / "ü.png"), image, atol=1e-6)


def test_a_photo_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    photo = Photo(smooth())
    with pytest.raises(InputError, match="no image format"):
        write_photo(tmp_path / "photo.xyz", photo)
    with pytest.raises(InputError, match="does not exist; create it first"):
        write_photo(tmp_path / "missing" / "photo.jpg", photo)
    if os.getuid() != 0:  # root may write anywhere
        tmp_path.chmod(0o500)
        with pytest.raises(InputError, match="cannot be written"):
            write_photo(tmp_path / "photo.jpg", photo)


def test_the_formats_in_the_readme_are_supported() -> None:
    assert features.check("webp")
