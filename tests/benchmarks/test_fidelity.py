from __future__ import annotations

import math

import numpy as np
import pytest

from bokeh_bench.measure.fidelity import (
    SMALLEST_MS_SSIM_PX,
    Fidelity,
    compare,
    ms_ssim,
    protocols_for,
)
from bokeh_convert.verify.ssim import ssim
from helpers.skips import ELSEWHERE


@pytest.fixture
def pair(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A structured picture and a damaged copy, [200, 240, 3]."""
    rows, columns = np.mgrid[0:200, 0:240] / 12
    waves = np.dstack([np.sin(rows + i) * np.cos(columns * (i + 1)) for i in range(3)])
    picture = (0.5 + 0.4 * waves).astype(np.float32)
    damaged = np.clip(picture * 0.9 + rng.normal(0, 0.05, picture.shape), 0, 1)
    return damaged.astype(np.float32), picture


def test_psnr_by_hand_in_both_protocols() -> None:
    black = np.zeros((200, 200, 3), np.float32)
    grey = black + 0.1
    assert compare("a", grey, black, 0).psnr_db == pytest.approx(20, abs=1e-5)
    framed = black.copy()
    framed[:32] = 1  # 32 of 200 rows are wrong by 1
    assert compare("a", framed, black, 0).psnr_db == pytest.approx(-10 * math.log10(0.16))
    assert compare("a", framed, black, 32).psnr_db == math.inf


def test_ssim_and_ms_ssim_by_hand() -> None:
    # Two flat pictures have no contrast: what is left is the luminance term.
    one, other = np.full((176, 200, 3), 0.4, np.float32), np.full((176, 200, 3), 0.6, np.float32)
    luminance = (2 * 0.4 * 0.6 + 1e-4) / (0.4**2 + 0.6**2 + 1e-4)
    assert ssim(one, other) == pytest.approx(luminance, abs=1e-5)
    assert ms_ssim(one, other) == pytest.approx(luminance**0.1333, abs=1e-5)


def test_ssim_and_ms_ssim_agree_with_tensorflows(pair: tuple[np.ndarray, np.ndarray]) -> None:
    tf = pytest.importorskip("tensorflow", reason=f"{ELSEWHERE}no TensorFlow")
    damaged, picture = (tf.constant(image[None]) for image in pair)
    assert ssim(*pair) == pytest.approx(float(tf.image.ssim(damaged, picture, 1.0)[0]), abs=1e-4)
    theirs = float(tf.image.ssim_multiscale(damaged, picture, 1.0)[0])
    assert ms_ssim(*pair) == pytest.approx(theirs, abs=1e-4)
    assert 0.5 < theirs < 0.99


def test_opposite_pictures_have_no_ms_ssim_below_zero(pair: tuple[np.ndarray, np.ndarray]) -> None:
    assert ms_ssim(1 - pair[1], pair[1]) == 0


def test_identical_pictures_are_perfect(pair: tuple[np.ndarray, np.ndarray]) -> None:
    found = compare("same", pair[1], pair[1], 0)
    assert (found.psnr_db, found.flip) == (math.inf, 0)
    assert (found.ssim, found.ms_ssim) == pytest.approx((1, 1))


def test_flip_grows_with_the_error_and_ignores_what_eyes_cannot_see() -> None:
    grey = np.full((180, 180, 3), 0.5, np.float32)
    checks = np.indices((180, 180)).sum(axis=0)[..., None] % 2 * 0.1 - 0.05
    flips = [compare("a", grey + error, grey, 0).flip for error in (0.01, 0.05, 0.2)]
    assert 0 < flips[0] < flips[1] < flips[2] < 1
    # A checkerboard of single pixels has the error of a shift by 0.05, and blends from afar.
    fine = compare("a", (grey + checks).astype(np.float32), grey, 0)
    assert fine.psnr_db == pytest.approx(-20 * math.log10(0.05), abs=0.01)
    assert fine.flip < flips[1] / 2


def test_small_pictures_have_the_measures_that_fit_them() -> None:
    assert SMALLEST_MS_SSIM_PX == 176
    assert protocols_for(64, 96) == ["full"]
    assert protocols_for(75, 96) == ["full", "paper"]
    small = np.zeros((64, 96, 3), np.float32)
    found = compare("a", small, small, 0)
    assert found.ms_ssim is None
    assert Fidelity("full_model", "full", [found]).ms_ssim_mean is None


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        compare("a", np.zeros((20, 20, 3), np.float32), np.zeros((20, 22, 3), np.float32), 0)
