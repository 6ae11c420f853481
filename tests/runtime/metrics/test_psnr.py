from __future__ import annotations

import math

import numpy as np
import pytest

from bokeh_runtime.metrics.psnr import finite_db, psnr, psnr_text, summarize_psnr


@pytest.mark.parametrize(("error", "decibels"), [(0.1, 20.0), (0.01, 40.0), (1.0, 0.0)])
def test_psnr_matches_values_worked_out_by_hand(error: float, decibels: float) -> None:
    reference = np.zeros((4, 4, 3))
    assert psnr(reference + error, reference, border_px=0) == pytest.approx(decibels)


def test_half_of_the_pixels_wrong_is_three_decibels_better() -> None:
    image = np.zeros((2, 4, 3))
    image[0] = 0.1
    assert psnr(image, np.zeros_like(image), border_px=0) == pytest.approx(20 + 10 * math.log10(2))


def test_the_border_is_cropped() -> None:
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
    ("shape", "border", "cause"), [((4, 5, 3), 0, "shapes differ"), ((4, 4, 3), 2, "too large")]
)
def test_images_that_cannot_be_compared_are_refused(shape: tuple, border: int, cause: str) -> None:
    with pytest.raises(ValueError, match=cause):
        psnr(np.zeros((4, 4, 3)), np.zeros(shape), border_px=border)


def test_mean_pooled_and_worst_by_hand() -> None:
    # Mean squared errors of 0.01 and 0.0001: together 0.00505.
    found = summarize_psnr([20.0, 40.0])
    assert (found.mean, found.worst) == (pytest.approx(30), 20)
    assert found.pooled == pytest.approx(-10 * math.log10(0.00505))
    assert (found.identical_images, found.images) == (0, 2)


def test_the_pooled_psnr_is_that_of_all_pixels_together(rng: np.random.Generator) -> None:
    images = [rng.random((6, 8, 3)) * gain for gain in (0.01, 0.1, 0.5)]
    black = np.zeros((6, 8, 3))
    each = [psnr(image, black, border_px=0) for image in images]
    together = psnr(np.vstack(images), np.vstack([black] * 3), border_px=0)
    assert summarize_psnr(each).pooled == pytest.approx(together)


def test_an_identical_image_does_not_lift_a_bad_one() -> None:
    found = summarize_psnr([math.inf, 9.0])
    assert (found.mean, found.worst, found.identical_images) == (9, 9, 1)
    assert found.pooled == pytest.approx(9 + 10 * math.log10(2))


def test_images_that_are_all_identical_are_infinitely_close() -> None:
    found = summarize_psnr([math.inf, math.inf])
    assert (found.mean, found.pooled, found.worst) == (math.inf,) * 3
    assert found.identical_images == found.images == 2


@pytest.mark.parametrize("psnr_db", [[], [40.0, math.nan]])
def test_psnr_values_that_cannot_be_summarized_are_refused(psnr_db: list[float]) -> None:
    with pytest.raises(ValueError, match="no valid PSNR"):
        summarize_psnr(psnr_db)


def test_a_psnr_is_formatted_for_json_and_text() -> None:
    assert (finite_db(40.12345), finite_db(math.inf)) == (40.123, None)
    assert (psnr_text(40.12), psnr_text(math.inf), psnr_text(None)) == (
        "40.1 dB",
        "identical",
        "identical",
    )
    with pytest.raises(ValueError, match="PSNR is NaN"):
        finite_db(math.nan)
