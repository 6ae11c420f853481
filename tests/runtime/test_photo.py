from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from bokeh_runtime import InputError, fit, open_photo, save_photo
from bokeh_runtime.photo import open_depth


@pytest.mark.parametrize("name", ["a.png", "b b.png", "фото.png", "写真.png"])
def test_eight_bits_are_scaled_to_one(name: str, tmp_path: Path) -> None:
    pixels = np.array([[[0, 51, 255], [255, 102, 0]]], np.uint8)  # BGR
    _write(tmp_path / name, pixels)
    expected = [[[1, 0.2, 0], [0, 0.4, 1]]]
    np.testing.assert_allclose(open_photo(tmp_path / name), expected, atol=1e-6)


def test_sixteen_bits_keep_their_precision(tmp_path: Path) -> None:
    pixels = np.full((2, 2, 3), 12345, np.uint16)
    _write(tmp_path / "deep.png", pixels)
    np.testing.assert_allclose(open_photo(tmp_path / "deep.png"), 12345 / 65535, rtol=1e-6)
    _write(tmp_path / "depth.png", pixels[..., 0])
    depth = open_depth(tmp_path / "depth.png")
    assert depth.shape == (2, 2, 1)
    np.testing.assert_allclose(depth, 12345 / 65535, rtol=1e-6)


def test_grey_is_repeated_and_alpha_dropped(tmp_path: Path) -> None:
    _write(tmp_path / "grey.png", np.full((2, 3), 102, np.uint8))
    np.testing.assert_allclose(open_photo(tmp_path / "grey.png"), np.full((2, 3, 3), 0.4))
    _write(tmp_path / "alpha.png", np.full((2, 3, 4), 102, np.uint8))
    np.testing.assert_allclose(open_photo(tmp_path / "alpha.png"), np.full((2, 3, 3), 0.4))


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_exif_orientation_is_applied(orientation: int, turns: int, tmp_path: Path) -> None:
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:8, :16] = 255  # one white corner
    encoded = cv2.imencode(".jpg", pixels)[1].tobytes()
    (tmp_path / "turned.jpg").write_bytes(_with_orientation(encoded, orientation))
    expected = np.rot90(pixels / 255, turns)
    np.testing.assert_allclose(open_photo(tmp_path / "turned.jpg"), expected, atol=0.1)


@pytest.mark.parametrize(
    ("content", "cause"),
    [(None, "cannot be read"), (b"", "does not decode"), (b"no picture", "does not decode")],
)
def test_what_is_no_photo_is_refused(content: bytes | None, cause: str, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=cause):
        open_photo(path)


def test_saving_and_opening_keeps_the_picture(tmp_path: Path, rng: np.random.Generator) -> None:
    image = (rng.integers(0, 256, (4, 5, 3)) / 255).astype(np.float32)
    save_photo(tmp_path / "ü.png", image)
    np.testing.assert_allclose(open_photo(tmp_path / "ü.png"), image, atol=1e-6)
    with pytest.raises(InputError, match="no picture format"):
        save_photo(tmp_path / "photo.xyz", image)


@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (10, 12), (32, 48)])
def test_fit_covers_and_cuts_the_middle(shape: tuple[int, int]) -> None:
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    image = np.stack([rows / shape[0], columns / shape[1]], axis=-1)
    fitted = fit(image, 32, 48)
    assert fitted.shape == (32, 48, 2)
    middle = (fitted[15:17, 23:25].mean(axis=(0, 1)), image.mean(axis=(0, 1)))
    np.testing.assert_allclose(*middle, atol=0.02)


def _write(path: Path, pixels: np.ndarray) -> None:
    path.write_bytes(cv2.imencode(path.suffix, pixels)[1].tobytes())


def _with_orientation(jpeg: bytes, orientation: int) -> bytes:
    # A big-endian TIFF header with one entry: tag 0x0112 (orientation), type short, count 1.
    exif = b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]
