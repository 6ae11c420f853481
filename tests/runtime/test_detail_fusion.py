from __future__ import annotations

import cv2
import numpy as np
import pytest

from bokeh_runtime.imaging.detail_fusion import focus_mask, fuse_detail
from bokeh_runtime.imaging.resample import scale
from bokeh_runtime.metrics.psnr import psnr

FACTOR = 6


@pytest.fixture
def large(rng: np.random.Generator) -> np.ndarray:
    """Detail down to the pixel, as photos have it, uint8 [720, 960, 3]."""
    photo = np.full((720, 960, 3), 128, np.float32)
    for size in (1, 2, 4, 8, 16, 32):
        noise = rng.normal(0, 7 * size**0.5, (720 // size, 960 // size, 3)).astype(np.float32)
        photo += cv2.resize(noise, (960, 720), interpolation=cv2.INTER_CUBIC)
    return np.clip(photo, 0, 255).astype(np.uint8)


def small(pixels: np.ndarray) -> np.ndarray:
    return scale(pixels, pixels.shape[0] // FACTOR, pixels.shape[1] // FACTOR)


def sharpness(pixels: np.ndarray) -> float:
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return float(np.square(cv2.Laplacian(grey, cv2.CV_32F)).mean())


def lens(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A disc in focus before a blurred background, and the disc's mask."""
    rows, columns = np.mgrid[0 : pixels.shape[0], 0 : pixels.shape[1]]
    disc = np.hypot(rows - 360, columns - 480) < 220
    blurred = cv2.GaussianBlur(pixels, (0, 0), 15)
    subject = np.clip(pixels.astype(np.int16) + 40, 0, 255).astype(np.uint8)
    photo = np.where(disc[..., None], subject, pixels)
    return photo, np.where(disc[..., None], subject, blurred)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_an_output_in_focus_everywhere_gives_the_photo(large: np.ndarray, dtype: type) -> None:
    photo = large.astype(dtype) * (257 if dtype == np.uint16 else 1)
    result = fuse_detail(photo, small(photo))
    assert result.dtype == dtype
    difference = np.abs(result.astype(np.int32) - photo)
    assert difference.max() <= 1


def test_an_output_blurred_everywhere_gives_the_upscaled_output(large: np.ndarray) -> None:
    network_output = cv2.GaussianBlur(small(large), (0, 0), 4)
    expected = cv2.resize(network_output, (960, 720), interpolation=cv2.INTER_CUBIC)
    result = fuse_detail(large, network_output) / 255
    np.testing.assert_allclose(result, np.clip(expected, 0, 1), atol=0.6 / 255)


def test_the_subject_keeps_its_detail_and_the_background_gets_none(large: np.ndarray) -> None:
    photo, target = lens(large)
    result = fuse_detail(photo, small(target))
    inside, outside = np.s_[260:460, 380:580], np.s_[0:100, 0:900]
    assert sharpness(result[inside]) == pytest.approx(sharpness(photo[inside]), rel=0.05)
    assert sharpness(result[outside]) < 0.01 * sharpness(photo[outside])


def test_the_downscaled_result_is_the_network_output(large: np.ndarray) -> None:
    photo, target = lens(large)
    network_output = small(target)
    assert psnr(small(fuse_detail(photo, network_output)), network_output, border_px=0) > 35


def test_there_is_no_halo_around_the_subject(large: np.ndarray) -> None:
    photo, target = lens(large)
    result = fuse_detail(photo, small(target)).astype(np.float32)
    rows, columns = np.mgrid[0:720, 0:960]
    distance = np.hypot(rows - 360, columns - 480) - 220
    # Mean brightness in rings of 3 px: a halo is a ring that is off on one side of the edge.
    for start in (*range(-30, -9, 3), *range(9, 30, 3)):
        ring = (distance >= start) & (distance < start + 3)
        assert abs(result[ring].mean() - target[ring].mean()) < 2.0, start


def test_focus_follows_the_detail_that_the_network_kept(large: np.ndarray) -> None:
    network_input = small(large)
    assert focus_mask(network_input, network_input).min() > 0.99
    assert focus_mask(network_input, cv2.GaussianBlur(network_input, (0, 0), 3)).max() < 0.01
    flat = np.full_like(network_input, 0.5)
    assert np.isfinite(focus_mask(flat, flat)).all()


@pytest.mark.parametrize("strength", [0.0, 0.5])
def test_strength_mixes_towards_the_photo(strength: float, large: np.ndarray) -> None:
    photo, target = lens(large)
    network_output = small(target)
    whole = fuse_detail(photo, network_output).astype(np.float32)
    mixed = fuse_detail(photo, network_output, strength=strength).astype(np.float32)
    np.testing.assert_allclose(mixed, strength * whole + (1 - strength) * photo, atol=1.5)


def test_a_photo_not_larger_than_the_network_gets_its_output(large: np.ndarray) -> None:
    network_output = small(large)
    tiny = large[:30, :40]
    result = fuse_detail(tiny, network_output)
    expected = cv2.resize(network_output, (40, 30), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(result / 255, expected, atol=0.6 / 255)


def test_the_result_may_be_written_into_the_photo(large: np.ndarray) -> None:
    network_output = cv2.GaussianBlur(small(large), (0, 0), 1)
    expected = fuse_detail(large, network_output)
    photo = large.copy()
    assert fuse_detail(photo, network_output, out=photo) is photo
    np.testing.assert_array_equal(photo, expected)
