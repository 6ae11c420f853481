"""TIFF files: kinds that cameras, scanners and editors write."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from bokeh_runtime import InputError, Photo, read_photo, write_photo

EIGHT, SIXTEEN = np.uint8, np.uint16


@pytest.fixture
def read(tmp_path: Path):
    def read(content: bytes) -> Photo:
        (tmp_path / "photo.tif").write_bytes(content)
        return read_photo(tmp_path / "photo.tif")

    return read


def tiff(pixels: np.ndarray, photometric: str = "rgb", **options: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, photometric=photometric, metadata=None, **options)
    return file.getvalue()


def noise(rng: np.random.Generator, dtype: type, channels: int) -> np.ndarray:
    return rng.integers(0, np.iinfo(dtype).max + 1, (40, 50, channels)).astype(dtype)


FORMS = {
    "plain": {},
    "big-endian": {"byteorder": ">"},
    "BigTIFF": {"bigtiff": True},
    "tiled": {"tile": (16, 16)},
    "deflate": {"compression": "zlib"},
    "deflate, predictor": {"compression": "zlib", "predictor": True},
    "strips": {"rowsperstrip": 7},
}


@pytest.mark.parametrize("dtype", [EIGHT, SIXTEEN])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("planar", [False, True])
def test_colour_is_read_as_written(planar: bool, form: str, dtype: type, read, rng) -> None:
    pixels = noise(rng, dtype, 3)
    options = dict(FORMS[form])
    stored = pixels
    if planar:
        stored, options["planarconfig"] = (
            np.ascontiguousarray(pixels.transpose(2, 0, 1)),
            "separate",
        )
    photo = read(tiff(stored, **options))
    assert not photo.grey
    np.testing.assert_array_equal(photo.pixels, pixels)


@pytest.mark.parametrize("dtype", [EIGHT, SIXTEEN])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("white", [False, True])
def test_grey_is_read_as_written(white: bool, form: str, dtype: type, read, rng) -> None:
    pixels = noise(rng, dtype, 1)
    stored = np.iinfo(dtype).max - pixels if white else pixels
    photo = read(tiff(stored[..., 0], "miniswhite" if white else "minisblack", **FORMS[form]))
    assert photo.grey
    np.testing.assert_array_equal(photo.pixels, np.repeat(pixels, 3, axis=2))


@pytest.mark.parametrize("predictor", [1, 2])
@pytest.mark.parametrize("compression", [5, 32773])
def test_lzw_and_packbits_of_sixteen_bits(compression: int, predictor: int, read, rng) -> None:
    pixels = noise(rng, SIXTEEN, 3)
    settings = [cv2.IMWRITE_TIFF_COMPRESSION, compression]
    settings += [cv2.IMWRITE_TIFF_PREDICTOR, predictor]
    content = cv2.imencode(".tif", pixels[..., ::-1], settings)[1].tobytes()
    np.testing.assert_array_equal(read(content).pixels, pixels)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_eight_bits_in_pillows_compressions(compression: str, read, rng) -> None:
    pixels = noise(rng, EIGHT, 3)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "TIFF", compression=compression)
    np.testing.assert_array_equal(read(file.getvalue()).pixels, pixels)


@pytest.mark.parametrize(
    ("photometric", "channels", "dtype"),
    [
        ("rgb", 3, EIGHT),
        ("rgb", 3, SIXTEEN),
        ("minisblack", 1, EIGHT),
        ("minisblack", 1, SIXTEEN),
        ("miniswhite", 1, SIXTEEN),
    ],
)
def test_alpha_is_kept(photometric: str, channels: int, dtype: type, read, rng) -> None:
    pixels = noise(rng, dtype, channels + 1)
    options = {"planarconfig": "contig", "extrasamples": ["unassalpha"]}
    photo = read(tiff(pixels, photometric, **options))
    colour = pixels[..., :channels]
    if photometric == "miniswhite":
        colour = np.iinfo(dtype).max - colour
    np.testing.assert_array_equal(photo.pixels, np.broadcast_to(colour, (40, 50, 3)))
    np.testing.assert_array_equal(photo.alpha, pixels[..., channels])


@pytest.mark.parametrize("dtype", [EIGHT, SIXTEEN])
def test_colours_are_divided_by_associated_alpha(dtype: type, read, rng) -> None:
    top = np.iinfo(dtype).max
    colour, alpha = noise(rng, dtype, 3), noise(rng, dtype, 1) // 2 + top // 2
    multiplied = np.rint(colour * (alpha / top)).astype(dtype)
    photo = read(tiff(np.dstack([multiplied, alpha]), extrasamples=["assocalpha"]))
    np.testing.assert_allclose(photo.pixels.astype(int), colour, atol=2)
    np.testing.assert_array_equal(photo.alpha, alpha[..., 0])


def test_a_channel_that_is_not_alpha_is_skipped_with_a_note(read, rng) -> None:
    for dtype in (EIGHT, SIXTEEN):
        pixels = noise(rng, dtype, 4)
        photo = read(tiff(pixels, extrasamples=["unspecified"]))
        np.testing.assert_array_equal(photo.pixels, pixels[..., :3])
        assert photo.alpha is None
        assert "not kept" in photo.notes[0]


def test_cmyk_of_sixteen_bits_is_read_with_eight(read, rng) -> None:
    inks = noise(rng, EIGHT, 4)
    eight = read(tiff(inks, "separated"))
    photo = read(tiff(inks.astype(SIXTEEN) * 257, "separated"))
    assert photo.notes == ("its 16-bit CMYK is read with 8 bits",)
    np.testing.assert_allclose(photo.pixels.astype(int), eight.pixels, atol=1)
    assert eight.notes == ()
    planes = np.ascontiguousarray(inks.transpose(2, 0, 1))
    separate = read(tiff(planes, "separated", planarconfig="separate"))
    np.testing.assert_array_equal(separate.pixels, eight.pixels)
    with pytest.raises(InputError, match="is a planar 16-bit CMYK image; save it as RGB"):
        read(tiff(planes.astype(SIXTEEN) * 257, "separated", planarconfig="separate"))


@pytest.mark.parametrize("dtype", [EIGHT, SIXTEEN])
def test_the_first_of_several_pages_is_read(dtype: type, read, rng) -> None:
    pages = np.stack([noise(rng, dtype, 3), noise(rng, dtype, 3)])
    photo = read(tiff(pages))
    np.testing.assert_array_equal(photo.pixels, pages[0])
    assert photo.notes == ("has several pages; only the first is read",)


def test_a_thumbnail_does_not_count_as_a_page(read, rng, tmp_path: Path) -> None:
    pixels = noise(rng, SIXTEEN, 3)
    with tifffile.TiffWriter(tmp_path / "two.tif") as file:
        file.write(pixels, photometric="rgb", metadata=None)
        file.write(pixels[::4, ::4], photometric="rgb", subfiletype=1, metadata=None)
    assert read((tmp_path / "two.tif").read_bytes()).notes == ()


def test_one_bit_and_palette(read, rng) -> None:
    bits = noise(rng, EIGHT, 1)[..., 0] > 100
    for photometric, shown in (("minisblack", bits), ("miniswhite", ~bits)):
        photo = read(tiff(bits, photometric))
        np.testing.assert_array_equal(photo.pixels[..., 0] > 127, shown)
    indices, colours = noise(rng, EIGHT, 1)[..., 0], noise(rng, EIGHT, 3).reshape(-1, 3)[:256]
    table = (colours.T.astype(SIXTEEN) * 257).copy()
    photo = read(tiff(indices, "palette", colormap=table))
    np.testing.assert_array_equal(photo.pixels, colours[indices])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("dtype", [EIGHT, SIXTEEN])
def test_the_orientation_tag_is_applied_once(
    dtype: type, orientation: int, read, rng, tmp_path: Path
) -> None:
    upright = noise(rng, dtype, 3)
    # TIFF 6.0, page 36: where the stored picture's first row and first column are shown.
    stored = upright if orientation < 5 else upright.swapaxes(0, 1)
    if orientation in (3, 4, 6, 7):
        stored = stored[::-1]
    if orientation in (2, 3, 7, 8):
        stored = stored[:, ::-1]
    photo = read(tiff(np.ascontiguousarray(stored), extratags=[(274, 3, 1, orientation, True)]))
    np.testing.assert_array_equal(photo.pixels, upright)
    write_photo(tmp_path / "again.tif", photo)
    np.testing.assert_array_equal(read_photo(tmp_path / "again.tif").pixels, upright)


@pytest.mark.parametrize(
    ("dtype", "photometric", "channels", "cause"),
    [
        (np.float32, "rgb", 3, "32-bit float samples"),
        (np.float32, "minisblack", 1, "32-bit float samples"),
        (np.float16, "rgb", 3, "16-bit float samples"),
        (np.uint32, "minisblack", 1, "32-bit samples"),
        (np.int16, "minisblack", 1, "16-bit signed samples"),
        (np.uint16, "cielab", 3, "16-bit CIELAB image"),
    ],
)
def test_unsupported_sample_types_are_refused(
    dtype: type, photometric: str, channels: int, cause: str, read
) -> None:
    pixels = np.zeros((40, 50, channels), dtype).squeeze()
    with pytest.raises(InputError, match=f"photo.tif: .*{cause}.*save it as RGB or grey"):
        read(tiff(pixels, photometric))


@pytest.mark.parametrize("dtype", [EIGHT, SIXTEEN])
@pytest.mark.parametrize("form", ["plain", "deflate", "tiled", "strips"])
@pytest.mark.parametrize("planar", [False, True])
def test_a_truncated_tiff_is_refused(planar: bool, form: str, dtype: type, read, rng) -> None:
    pixels = noise(rng, dtype, 3)
    options = dict(FORMS[form])
    if planar:
        pixels, options["planarconfig"] = (
            np.ascontiguousarray(pixels.transpose(2, 0, 1)),
            "separate",
        )
    content = tiff(pixels, **options)
    for left in (0.3, 0.7, 0.98):
        with pytest.raises(InputError, match=r"photo.tif: "):
            read(content[: int(len(content) * left)])


def test_a_segment_that_unpacks_to_more_than_its_size_is_refused(read, rng) -> None:
    pixels = np.zeros((3, 64, 64), SIXTEEN)
    content = tiff(pixels, planarconfig="separate", compression="zlib")
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page = file.pages.first
        at, count = page.tags[257].valueoffset, page.tags[256].valueoffset
    changed = bytearray(content)
    changed[at : at + 2] = changed[count : count + 2] = (16).to_bytes(2, "little")
    with pytest.raises(InputError, match="contradicts"):
        read(bytes(changed))


def test_a_small_file_with_a_huge_image_size_is_refused(read) -> None:
    content = tiff(np.zeros((16, 16), SIXTEEN), "minisblack")
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        places = [file.pages.first.tags[tag].valueoffset for tag in (256, 257)]
    for side, cause in ((60_000, "60000 x 60000 is more than 256"), (10_000, "data are missing")):
        changed = bytearray(content)
        for place in places:
            changed[place : place + 2] = side.to_bytes(2, "little")
        with pytest.raises(InputError, match=cause):
            read(bytes(changed))
