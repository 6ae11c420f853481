from __future__ import annotations

import math

import numpy as np
import pytest

from bokeh_runtime import psnr


@pytest.mark.parametrize(("error", "decibels"), [(0.1, 20.0), (0.01, 40.0), (1.0, 0.0)])
def test_psnr_matches_values_worked_out_by_hand(error: float, decibels: float) -> None:
    reference = np.zeros((4, 4, 3))
    assert psnr(reference + error, reference, border_px=0) == pytest.approx(decibels)


def test_half_of_the_pixels_wrong_is_three_decibels_better() -> None:
    image = np.zeros((2, 4, 3))
    image[0] = 0.1
    assert psnr(image, np.zeros_like(image), border_px=0) == pytest.approx(20 + 10 * math.log10(2))


def test_the_border_is_left_out() -> None:
    image = np.ones((6, 6, 3))
    image[2:4, 2:4] = 0.1
    assert psnr(image, np.zeros_like(image), border_px=2) == pytest.approx(20)


def test_identical_pictures_are_infinitely_close() -> None:
    assert psnr(np.ones((2, 2, 3)), np.ones((2, 2, 3)), border_px=0) == math.inf


def test_small_errors_survive_single_precision() -> None:
    reference = np.full((8, 8, 3), 0.5, np.float32)
    image = reference + np.float32(2**-20)
    assert psnr(image, reference, border_px=0) == pytest.approx(20 * math.log10(2**20), abs=1e-6)


@pytest.mark.parametrize(
    ("shape", "border", "cause"), [((4, 5, 3), 0, "shapes differ"), ((4, 4, 3), 2, "nothing")]
)
def test_what_cannot_be_compared_is_refused(shape: tuple, border: int, cause: str) -> None:
    with pytest.raises(ValueError, match=cause):
        psnr(np.zeros((4, 4, 3)), np.zeros(shape), border_px=border)
