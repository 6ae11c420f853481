"""JPEG files: kinds that cameras write, and damaged ones."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from bokeh_runtime import InputError, Photo, read_photo

END = b"\xff\xd9"
SOF0 = b"\xff\xc0"


@pytest.fixture
def read(tmp_path: Path):
    def read(content: bytes) -> Photo:
        (tmp_path / "photo.jpg").write_bytes(content)
        return read_photo(tmp_path / "photo.jpg")

    return read


def jpeg(pixels: np.ndarray, mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "JPEG", quality=92, **options)
    return file.getvalue()


def by_pillow(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_each_kind_is_decoded_as_by_pillow(mode: str, progressive: bool, read, scene) -> None:
    content = jpeg(scene, mode, progressive=progressive)
    photo = read(content)
    np.testing.assert_array_equal(photo.pixels, by_pillow(content))
    assert photo.grey == (mode == "L")
    assert photo.notes == ()


def test_a_jpeg_stored_as_rgb_is_not_converted_from_ycc(read, scene) -> None:
    file = io.BytesIO()
    Image.fromarray(scene).save(file, "JPEG", quality=92, keep_rgb=True)
    np.testing.assert_array_equal(read(file.getvalue()).pixels, by_pillow(file.getvalue()))


def test_an_unusual_subsampling_is_read(read) -> None:
    """One MCU of 24 x 8 pixels, luminance three times as dense, all of it middle grey."""
    grey = jpeg(np.full((8, 24, 3), 128, np.uint8), subsampling=0)
    frame, scan = grey.find(SOF0), grey.find(b"\xff\xda")
    assert grey[frame + 10 : frame + 13] == b"\x01\x11\x00"
    header = grey[: frame + 11] + b"\x31" + grey[frame + 12 : scan + 14]
    # ISO/IEC 10918-1, K.3: no difference 00, end of block 1010; 00 and 00 for chrominance.
    bits = "001010" * 3 + "0000" * 2 + "1" * 6
    content = header + int(bits, 2).to_bytes(4, "big") + END
    photo = read(content)
    np.testing.assert_array_equal(photo.pixels, np.full((8, 24, 3), 128))
    assert "unusual" in photo.notes[0]


def test_fill_bytes_before_a_marker_are_legal(read, scene) -> None:
    content = jpeg(scene)  # ISO/IEC 10918-1, B.1.1.2: any marker may be preceded by them
    filled = content[:2] + b"\xff\xff\xff" + content[2:]
    table = filled.find(b"\xff\xdb")
    filled = filled[:table] + b"\xff\xff" + filled[table:]
    np.testing.assert_array_equal(read(filled).pixels, by_pillow(content))


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("left_out", [1, 2])
def test_a_file_without_its_end_marker_is_read(
    left_out: int, progressive: bool, read, scene
) -> None:
    content = jpeg(scene, progressive=progressive)
    photo = read(content[:-left_out])
    np.testing.assert_array_equal(photo.pixels, by_pillow(content))
    assert photo.notes == ("its end marker is missing, but all rows were decoded",)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("left", [0.1, 0.5, 0.9, 0.99])
def test_missing_rows_are_refused(left: float, progressive: bool, mode: str, read, scene) -> None:
    content = jpeg(scene, mode, progressive=progressive)
    for cut in (content[: int(len(content) * left)], content[: int(len(content) * left)] + END):
        with pytest.raises(InputError, match=r"photo.jpg: .*(damaged|truncated)"):
            read(cut)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("stray", [b"\xff\xd3", b"\xff\xc4\x00\x02", b"\xff\xfe\x00\x03a"])
def test_stray_bytes_in_the_scan_are_refused(stray: bytes, mode: str, read, scene) -> None:
    content = jpeg(scene, mode)
    middle = content.find(b"\xff\xda") + (len(content) - content.find(b"\xff\xda")) // 20
    with pytest.raises(InputError, match=r"photo.jpg: damaged or truncated"):
        read(content[:middle] + stray + content[middle:])


def test_zeros_before_the_end_marker_are_noted(read, scene) -> None:
    content = jpeg(scene)  # as some cameras write them
    photo = read(content[:-2] + bytes(100) + END)
    np.testing.assert_array_equal(photo.pixels, by_pillow(content))
    assert "bytes after the image are ignored" in photo.notes[0]


def test_rows_lost_to_damage_are_refused(read, scene, rng) -> None:
    content = bytearray(jpeg(scene))
    start, lost = content.find(b"\xff\xda") + 14, 0
    for at in rng.integers(start, len(content) - 2, 200):
        damaged = content.copy()
        damaged[at] ^= 0x11
        try:
            simplejpeg.decode_jpeg(bytes(damaged), strict=True)
        except ValueError as warning:  # else nobody can tell
            lost += "before marker 0xd9" in str(warning)
            with pytest.raises(InputError, match=r"photo.jpg: damaged or truncated"):
                read(bytes(damaged))
    assert lost > 0


def test_zeros_in_a_file_with_restart_markers_are_refused(read, scene) -> None:
    content = jpeg(scene, restart_marker_rows=1)
    assert read(content).notes == ()
    middle = content.find(b"\xff\xd4")
    with pytest.raises(InputError, match="damaged or truncated"):
        read(content[:middle] + bytes(100) + END)


def test_data_after_the_image_is_ignored(read, scene) -> None:
    content = jpeg(scene)
    motion = read(content + b"\0\0\0\x18ftypmp42" + bytes(1000))  # a motion photo's video
    np.testing.assert_array_equal(motion.pixels, by_pillow(content))
    assert motion.notes == ()


def test_the_first_of_several_images_is_read(read, scene) -> None:
    file = io.BytesIO()
    images = [Image.fromarray(scene), Image.fromarray(scene[::2, ::2])]
    images[0].save(file, "MPO", save_all=True, append_images=images[1:])
    np.testing.assert_array_equal(read(file.getvalue()).pixels, by_pillow(file.getvalue()))


@pytest.mark.parametrize(
    "extra",
    [
        segment(0xE1, b'http://ns.adobe.com/xap/1.0/\0<x hdrgm:Version="1.0"/>'),
        segment(0xE2, b"urn:iso:std:iso:ts:21496:-1\0\0\0\0\0"),
    ],
)
def test_a_gain_map_is_noted(extra: bytes, read, scene) -> None:
    content = jpeg(scene)
    photo = read(content[:2] + extra + content[2:] + jpeg(scene[::4, ::4], "L"))
    np.testing.assert_array_equal(photo.pixels, by_pillow(content))
    assert photo.notes == ("its HDR gain map is not kept; the result is the standard-range image",)


@pytest.mark.parametrize(
    ("old", "new", "cause"),
    [
        (SOF0 + b"\0\x11\x08", SOF0 + b"\0\x11\x0c", "12-bit"),
        (SOF0, b"\xff\xc3", "photo.jpg: "),  # lossless
    ],
)
def test_unsupported_kinds_are_refused_with_a_clear_message(
    old: bytes, new: bytes, cause: str, read, scene
) -> None:
    content = jpeg(scene)
    assert content.count(old) == 1
    with pytest.raises(InputError, match=cause):
        read(content.replace(old, new))


def test_a_photo_with_malformed_exif_and_profile_is_read(read, scene) -> None:
    content = jpeg(scene)
    broken = segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff" + bytes(8))
    profile = segment(0xE2, b"ICC_PROFILE\0\x01\x01not a profile")
    photo = read(content[:2] + broken + profile + content[2:])
    np.testing.assert_array_equal(photo.pixels, by_pillow(content))
    assert photo.icc is None


def test_a_small_file_with_a_huge_image_size_is_refused_before_memory_is_allocated(
    read, scene
) -> None:
    content = jpeg(scene)
    at = content.find(SOF0) + 5
    claims = content[:at] + struct.pack(">HH", 60_000, 60_000) + content[at + 4 :]
    with pytest.raises(InputError, match="60000 x 60000 is more than 256 megapixels"):
        read(claims)
    empty = content[:at] + struct.pack(">HH", 300, 0) + content[at + 4 :]
    with pytest.raises(InputError, match=r"photo.jpg: "):
        read(empty)


def test_a_progressive_file_with_too_many_scans_is_refused(read, scene) -> None:
    content = jpeg(scene[:16, :16], progressive=True)
    last = content.rfind(b"\xff\xda")
    with pytest.raises(InputError, match="more than 1000 scans"):
        read(content[:-2] + content[last:-2] * 2000 + END)
