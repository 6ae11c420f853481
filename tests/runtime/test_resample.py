from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from bokeh_runtime import InputError
from bokeh_runtime.imaging.resample import Frame, fit, scale


@pytest.mark.parametrize("size", [(256, 341), (100, 150), (299, 399), (1, 1)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_area_is_the_mean_over_each_pixels_area(
    size: tuple[int, int], dtype: type, scene: np.ndarray
) -> None:
    photo = scene.astype(dtype) * (257 if dtype == np.uint16 else 1)
    # OpenCV's own, on floats, which for a large photo take four times the memory.
    unit = (photo / np.iinfo(dtype).max).astype(np.float32)
    expected = cv2.resize(unit, size[::-1], interpolation=cv2.INTER_AREA).reshape(*size, 3)
    np.testing.assert_allclose(scale(photo, *size), expected, atol=2e-6)


def test_bicubic_is_pillows(scene: np.ndarray) -> None:
    expected = Image.fromarray(scene).resize((150, 100), Image.Resampling.BICUBIC)
    scaled = scale(scene, 100, 150, "bicubic")
    np.testing.assert_allclose(scaled * 255, np.asarray(expected), atol=1e-3)
    unit = (scene / 255).astype(np.float32)
    np.testing.assert_allclose(fit(unit, 100, 150, "bicubic").shape, (100, 150, 3))


def test_a_small_photo_is_scaled_up_within_range(scene: np.ndarray) -> None:
    scaled = scale(scene[:1, :1], 64, 96)
    np.testing.assert_allclose(scaled, np.broadcast_to(scene[0, 0] / 255, (64, 96, 3)), atol=1e-6)
    grown = scale(scene[:20, :30], 64, 96)
    assert grown.min() >= 0
    assert grown.max() <= 1


def test_an_unknown_method_is_refused(scene: np.ndarray) -> None:
    with pytest.raises(InputError, match="resampling='nearest': unknown"):
        scale(scene, 10, 10, "nearest")


@pytest.mark.parametrize(
    ("photo", "frame"),
    [
        ((3000, 4000), Frame(0, 21, 256, 341)),
        ((4000, 3000), Frame(0, 96, 256, 192)),
        ((1000, 3000), Frame(64, 0, 128, 384)),
        ((512, 768), Frame(0, 0, 256, 384)),
        ((1, 1), Frame(0, 64, 256, 256)),
        ((1, 100_000), Frame(127, 0, 1, 384)),
    ],
)
def test_the_frame_holds_the_whole_photo_undistorted(photo: tuple[int, int], frame: Frame) -> None:
    assert Frame.within(photo, (256, 384)) == frame


def test_the_padding_mirrors_the_photo(scene: np.ndarray) -> None:
    frame = Frame.within((300, 400), (64, 96))
    small = scale(scene, frame.height, frame.width)
    filled = frame.pad(small, (64, 96))
    assert filled.shape == (64, 96, 3)
    np.testing.assert_array_equal(frame.crop(filled), small)
    np.testing.assert_array_equal(filled[:, frame.left - 1], small[:, 0])
    narrow = Frame.within((1000, 3), (64, 96))  # margins many times its width
    assert narrow.pad(small[:64, : narrow.width], (64, 96)).shape == (64, 96, 3)


def test_a_frame_scales_with_the_networks_output() -> None:
    assert Frame(10, 20, 30, 40).scaled(2) == Frame(20, 40, 60, 80)
