from __future__ import annotations

import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, ImageCms, features

from bokeh_runtime import InputError, Photo, open_photo, read_photo, save_photo, write_photo

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
TOLERANCE = {".jpg": 12, ".webp": 12, ".heic": 12}
LOSSLESS = [".png", ".tif"]


def heic_or_skip(suffix: str) -> None:
    if suffix == ".heic":
        pytest.importorskip("pillow_heif")


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


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".heic"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photo_is_read_upright_and_not_turned_again(
    suffix: str, orientation: int, tmp_path: Path
) -> None:
    heic_or_skip(suffix)
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


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".heic"])
def test_profile_and_exif_are_carried_over(suffix: str, tmp_path: Path) -> None:
    heic_or_skip(suffix)
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


def test_the_thumbnail_which_shows_the_old_picture_is_dropped(tmp_path: Path) -> None:
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


def test_sixteen_bits_carry_what_their_format_holds(tmp_path: Path) -> None:
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
def test_alpha_stays_where_the_format_has_it(suffix: str, tmp_path: Path) -> None:
    alpha = np.linspace(0, 255, 16 * 32).reshape(16, 32).astype(np.uint8)
    path, again = tmp_path / f"alpha{suffix}", tmp_path / f"again{suffix}"
    options = {"lossless": True, "exact": True} if suffix == ".webp" else {}
    Image.fromarray(np.dstack([smooth(), alpha])).save(path, **options)
    photo = read_photo(path)
    np.testing.assert_array_equal(photo.alpha, alpha)
    write_photo(again, photo)
    np.testing.assert_allclose(read_photo(again).alpha, alpha, atol=2)


def test_alpha_goes_onto_white_where_the_format_has_none(tmp_path: Path) -> None:
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


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".heic"])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
def test_a_photo_cut_short_is_refused(
    suffix: str, share: float, tmp_path: Path, scene: np.ndarray
) -> None:
    heic_or_skip(suffix)
    thumbnail = camera_exif()
    Image.fromarray(scene).save(tmp_path / f"whole{suffix}", exif=thumbnail)
    content = (tmp_path / f"whole{suffix}").read_bytes()
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match=rf"cut\{suffix}: "):
        read_photo(path)


def test_a_deep_photo_cut_short_is_refused(tmp_path: Path, rng: np.random.Generator) -> None:
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
        (b"", "does not decode"),
        (b"no picture", "does not decode"),
        (b"GIF89a" + bytes(40), "does not decode"),
        (b"\xff\xd8\xff\xd9", "does not decode|cut short"),
    ],
)
def test_what_is_no_photo_is_refused(content: bytes | None, cause: str, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=cause):
        open_photo(path)


def test_large_photos_are_read_without_a_warning_and_absurd_ones_refused(tmp_path: Path) -> None:
    Image.new("L", (10_000, 10_000)).save(tmp_path / "large.png")  # 100 megapixels
    assert read_photo(tmp_path / "large.png").pixels.shape == (10_000, 10_000, 3)
    Image.new("1", (20_000, 20_000)).save(tmp_path / "absurd.png")
    with pytest.raises(InputError, match="more than 256 megapixels"):
        read_photo(tmp_path / "absurd.png")


def test_several_threads_may_read(tmp_path: Path, scene: np.ndarray) -> None:
    save_photo(tmp_path / "photo.png", scene / np.float32(255))
    with ThreadPoolExecutor(4) as pool:
        for photo in pool.map(read_photo, [tmp_path / "photo.png"] * 8):
            np.testing.assert_array_equal(photo.pixels, scene)


def test_saving_and_opening_keeps_the_picture(tmp_path: Path, rng: np.random.Generator) -> None:
    image = (rng.integers(0, 256, (4, 5, 3)) / 255).astype(np.float32)
    save_photo(tmp_path / "ü.png", image)
    np.testing.assert_allclose(open_photo(tmp_path / "ü.png"), image, atol=1e-6)


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    photo = Photo(smooth())
    with pytest.raises(InputError, match="no picture format"):
        write_photo(tmp_path / "photo.xyz", photo)
    with pytest.raises(InputError, match="there is no folder"):
        write_photo(tmp_path / "missing" / "photo.jpg", photo)
    if os.getuid() != 0:  # root may write anywhere
        tmp_path.chmod(0o500)
        with pytest.raises(InputError, match="cannot be written"):
            write_photo(tmp_path / "photo.jpg", photo)


def test_the_formats_that_the_readme_names_are_here() -> None:
    assert features.check("webp")
