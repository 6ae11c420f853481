"""A damaged file gives a photo or an error of one line, and does not stop a folder."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, features

from bokeh_runtime import BokehModel, InputError, Photo, read_photo, write_photo
from bokeh_runtime.render import RenderedFile, RenderOptions, render_files
from bokeh_runtime.render_jobs import Job
from helpers.skips import ELSEWHERE

MUTANTS = 60


def _by_pillow(name: str, mode: str = "RGB", **options: object) -> Callable[[np.ndarray], bytes]:
    def write(pixels: np.ndarray) -> bytes:
        exif = Image.Exif()
        exif[ExifTags.Base.Make] = "Maker"
        exif[ExifTags.Base.Orientation] = 6
        file = io.BytesIO()
        Image.fromarray(pixels).convert(mode).save(file, name, exif=exif, **options)
        return file.getvalue()

    return write


def _by_tifffile(photometric: str, dtype: type, **options: object) -> Callable[..., bytes]:
    def write(pixels: np.ndarray) -> bytes:
        stored = pixels.astype(dtype)
        if options.get("planarconfig") == "separate":
            stored = np.ascontiguousarray(stored.transpose(2, 0, 1))
        if photometric == "miniswhite":
            stored = np.ascontiguousarray(stored[..., 0])
        file = io.BytesIO()
        tifffile.imwrite(file, stored, photometric=photometric, metadata=None, **options)
        return file.getvalue()

    return write


def _deep_png(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels.astype(np.uint16) * 257)[1].tobytes()


KINDS = {
    "jpeg": _by_pillow("JPEG"),
    "progressive": _by_pillow("JPEG", progressive=True),
    "cmyk": _by_pillow("JPEG", "CMYK"),
    "png": _by_pillow("PNG"),
    "palette": _by_pillow("PNG", "P"),
    "deep png": _deep_png,
    "webp": _by_pillow("WEBP"),
    "tiff": _by_pillow("TIFF", compression="tiff_lzw"),
    "deep tiff": _by_tifffile("rgb", np.uint16, compression="zlib"),
    "planar tiff": _by_tifffile("rgb", np.uint16, planarconfig="separate", compression="zlib"),
    "white tiff": _by_tifffile("miniswhite", np.uint16, tile=(16, 16)),
    "avif": _by_pillow("AVIF"),
    "heic": _by_pillow("HEIF"),
}


def _skip_without(kind: str) -> None:
    if kind == "heic":
        pytest.importorskip("pillow_heif", reason=f"{ELSEWHERE}no HEIC decoder")
    if kind == "avif" and not features.check("avif"):
        pytest.skip(f"{ELSEWHERE}this Pillow has no AVIF")


def _mutant(content: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(content)
    # Most of what a decoder can stumble over stands in the first bytes.
    reach = len(changed) if rng.random() < 0.5 else min(len(changed), 600)
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(0, min(reach, len(changed))))
        way = rng.integers(0, 5)
        if way == 0:
            changed[at] = int(rng.integers(0, 256))
        elif way == 1:
            changed[at] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF]))
        elif way == 2:
            changed[at : at + 4] = b"\xff\xff\xff\xff"
        elif way == 3:
            del changed[at : at + int(rng.integers(1, 20))]
        else:
            changed[at:at] = rng.bytes(int(rng.integers(1, 20)))
        if len(changed) < 2:
            break
    return bytes(
        changed[: int(rng.integers(1, len(changed) + 1))] if rng.random() < 0.2 else changed
    )


@pytest.mark.parametrize("kind", KINDS)
def test_damage_gives_a_photo_or_one_line(kind: str, tmp_path: Path, scene: np.ndarray) -> None:
    _skip_without(kind)
    rng = np.random.default_rng(sum(kind.encode()))
    whole = KINDS[kind](scene[:48, :64])
    path = tmp_path / "photo.bin"
    path.write_bytes(whole)
    assert read_photo(path).pixels.size == 48 * 64 * 3
    for _ in range(MUTANTS):
        path.write_bytes(_mutant(whole, rng))
        photo = _photo_or_message(path)
        if isinstance(photo, Photo):
            assert photo.pixels.dtype in (np.uint8, np.uint16)
            assert photo.pixels.ndim == 3
            assert photo.pixels.shape[2] == 3
        else:
            assert photo.startswith(f"{path}: ")
            assert "\n" not in photo


def _photo_or_message(path: Path) -> Photo | str:
    try:
        return read_photo(path)
    except InputError as error:
        return str(error)


LARGE_CLAIMS = """
import resource, sys
from pathlib import Path
from bokeh_runtime import InputError, read_photo
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for name in sys.argv[1:]:
    try:
        read_photo(Path(name))
    except InputError as error:
        print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, file=sys.stderr)
"""


@pytest.mark.slow
def test_a_decompression_bomb_is_refused_before_memory_is_allocated(tmp_path: Path) -> None:
    paths = []
    for name, options in (("PNG", {}), ("TIFF", {"compression": "tiff_adobe_deflate"})):
        paths.append(tmp_path / f"bomb.{name.lower()}")
        Image.new("1", (40_000, 20_000)).save(paths[-1], name, **options)  # 800 megapixels
        assert paths[-1].stat().st_size < 300_000
    deep = _deep_png(np.zeros((16, 16, 3), np.uint8))
    paths.append(tmp_path / "chunk.png")
    paths[-1].write_bytes(
        deep[:-12] + b"\xff\xff\xff\xf0" + deep[-8:] + bytes(100)
    )  # IEND's length
    done = subprocess.run(
        [sys.executable, "-c", LARGE_CLAIMS, *paths], capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert len(lines) == len(paths)
    assert all("40000 x 20000 is more than 256 megapixels" in line for line in lines[:2])
    assert "chunk.png: damaged or truncated" in lines[2]
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(done.stderr.splitlines()[-1]) * unit < 100_000_000


@pytest.mark.slow
def test_a_phones_200_megapixels_are_read(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    Image.new("L", (16_320, 12_240), 90).save(path)
    bound = Image.MAX_IMAGE_PIXELS
    photo = read_photo(path)
    assert photo.pixels.shape == (12_240, 16_320, 3)
    assert bound == Image.MAX_IMAGE_PIXELS
    with pytest.raises(InputError, match=r"out.webp: WEBP cannot store this photo .*use .jpg"):
        write_photo(tmp_path / "out.webp", Photo(np.zeros((1, 16_384, 3), np.uint8)))


def test_bad_photos_do_not_stop_a_folder(tmp_path: Path, data: Path, scene: np.ndarray) -> None:
    whole = KINDS["jpeg"](scene)
    contents = {
        "a.jpg": whole,
        "b.jpg": whole[:100],
        "c.png": b"\x89PNG\r\n\x1a\n",
        "d.tif": b"II*\0" + bytes(20),
        "e.jpg": whole[:2] + b"\xff\xff" + whole[2:],
        "f.jpg": b"",
        "g.jpg": whole[:-2],
    }
    jobs = []
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        jobs.append(Job(tmp_path / name, tmp_path / f"out_{name}"))
    with BokehModel.open(data / "small_float16.tflite", "cpu") as model:
        outcomes = list(render_files(model, jobs, RenderOptions()))
    rendered = [one.photo.name for one in outcomes if isinstance(one, RenderedFile)]
    assert rendered == ["a.jpg", "e.jpg", "g.jpg"]
    assert all(isinstance(one, RenderedFile | InputError) for one in outcomes)
    last = outcomes[-1]
    assert isinstance(last, RenderedFile)
    assert last.notes == ("its end marker is missing, but all rows were decoded",)
