"""The grain of errors whose grain is known, or worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from bokeh_runtime.metrics.fidelity import Fidelity, ImageFidelity
from bokeh_runtime.metrics.grain import METRIC, grain, smooth_areas

SHAPE = (320, 480)
FLAT = np.full((*SHAPE, 3), 0.5, np.float32)
CHECKS = np.indices(SHAPE).sum(axis=0)[..., None] % 2 * 2.0 - 1


def with_error(reference: np.ndarray, error_255: npt.ArrayLike) -> np.ndarray:
    """An image with an error in units of 1/255, [height, width, 1 or 3] or a number."""
    return (reference + np.asarray(error_255) / 255).astype(np.float32)


def left_by_the_blur() -> float:
    """The share of the RMS of white noise that noise minus its blur (sigma 2, 17 px) has."""
    taps = np.exp(-0.5 * (np.arange(-8, 9) / 2.0) ** 2)
    kernel = np.outer(taps, taps) / taps.sum() ** 2
    # The mean square of a filter's output is the sum of its squared weights: 1 - k at the centre,
    # -k elsewhere.
    return math.sqrt(1 - 2 * kernel[8, 8] + float(np.square(kernel).sum()))


@pytest.mark.parametrize("sigma", [0.3, 1.0, 4.0])
def test_white_noise_has_the_grain_of_its_deviation(sigma: float, rng: np.random.Generator) -> None:
    assert left_by_the_blur() == pytest.approx(0.97, abs=0.001)
    noise = rng.normal(0, sigma, (*SHAPE, 1))
    measured = float(np.sqrt(np.mean(noise**2)))
    assert grain(with_error(FLAT, noise), FLAT) == pytest.approx(
        measured * left_by_the_blur(), rel=0.01
    )


def test_channels_count_by_their_luminance(rng: np.random.Generator) -> None:
    noise = rng.normal(0, 1, (*SHAPE, 3))
    weights = np.array([0.299, 0.587, 0.114])
    found = [grain(with_error(FLAT, noise * one), FLAT) for one in np.eye(3)]
    assert found == pytest.approx(list(weights * left_by_the_blur()), rel=0.02)
    together = math.sqrt(float(np.square(weights).sum())) * left_by_the_blur()
    assert grain(with_error(FLAT, noise), FLAT) == pytest.approx(together, rel=0.02)


def test_rounding_to_8_bits_has_the_grain_that_the_documentation_names(
    rng: np.random.Generator,
) -> None:
    for channels, expected in ((1, 0.28), (3, 0.19)):
        reference = with_error(FLAT, rng.uniform(-0.5, 0.5, (*SHAPE, channels)))
        rounded = (np.round(reference * 255) / 255).astype(np.float32)
        assert grain(rounded, reference) == pytest.approx(expected, abs=0.005)


def test_an_error_that_changes_slowly_has_no_grain() -> None:
    assert grain(FLAT, FLAT) == 0
    assert grain(with_error(FLAT, 10), FLAT) == pytest.approx(0, abs=1e-4)
    columns = np.arange(SHAPE[1])[None, :, None]
    slow = 10 * np.cos(2 * np.pi * columns / 240) * np.ones((*SHAPE, 1))
    assert grain(with_error(FLAT, slow), FLAT) < 0.02
    # A Gaussian of sigma 2 lets exp(-2 pi^2 sigma^2 / wavelength^2) of a wave through.
    wave = 10 * np.cos(2 * np.pi * columns / 12) * np.ones((*SHAPE, 1))
    expected = 10 / math.sqrt(2) * (1 - math.exp(-2 * math.pi**2 * 2**2 / 12**2))
    assert grain(with_error(FLAT, wave), FLAT) == pytest.approx(expected, rel=0.01)


def test_the_finest_error_counts_in_full() -> None:
    assert grain(with_error(FLAT, 1.5 * CHECKS), FLAT) == pytest.approx(1.5, rel=1e-3)


def test_errors_between_details_do_not_count(rng: np.random.Generator) -> None:
    textured = FLAT.copy()
    textured[:, 200:] = with_error(FLAT, 30 * CHECKS)[:, 200:]
    noise = rng.normal(0, 3, (*SHAPE, 1))
    between = noise.copy()
    between[:, :220] = 0  # so that no blur carries it into the smooth area
    assert grain(with_error(textured, between), textured) == pytest.approx(0, abs=1e-4)
    smooth = noise - between
    assert grain(with_error(textured, smooth), textured) == pytest.approx(
        3 * left_by_the_blur(), rel=0.02
    )


def test_an_area_is_smooth_below_a_deviation_of_two() -> None:
    # In 7 x 7 px there are 24 squares of one colour and 25 of the other.
    deviation = math.sqrt(1 - 1 / 49**2)
    assert smooth_areas(with_error(FLAT, 1.99 / deviation * CHECKS)).all()
    assert not smooth_areas(with_error(FLAT, 2.01 / deviation * CHECKS)).any()


def test_the_window_of_a_smooth_area_has_seven_pixels() -> None:
    image = with_error(FLAT, 0)
    image[100, 200] = 1
    rows, columns = np.nonzero(~smooth_areas(image))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (97, 103, 197, 203)
    assert len(rows) == 49


def test_without_smooth_areas_there_is_no_grain() -> None:
    textured = with_error(FLAT, 30 * CHECKS)
    assert grain(textured, textured) is None
    assert grain(np.zeros((11, 11, 3), np.float32), np.zeros((11, 11, 3), np.float32)) is None


@pytest.mark.parametrize(("width", "measured"), [(23, True), (22, False)])
def test_a_smooth_area_has_289_pixels_or_more(width: int, measured: bool) -> None:
    # Three pixels inside of its border no window holds anything else: 17 x 17 or 17 x 16.
    reference = with_error(FLAT, 60 * CHECKS)
    reference[50:73, 50 : 50 + width] = 0.5
    assert np.count_nonzero(smooth_areas(reference)) == 17 * (width - 6)
    assert (grain(reference, reference) is not None) is measured


def test_images_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        grain(FLAT, FLAT[:-1])


def images(*values: float | None) -> Fidelity:
    return Fidelity(
        [ImageFidelity(f"photo {i}", 40.0, 0.1, {"grain": value}) for i, value in enumerate(values)]
    )


def test_mean_and_worst_are_over_the_photos_with_smooth_areas() -> None:
    found = images(0.5, None, 0.7)
    assert found.mean(METRIC) == pytest.approx(0.6)
    assert found.worst(METRIC) == 0.7
    assert found.figures([METRIC]) == {"grain_mean": 0.6, "grain_worst": 0.7}
    assert found.coverage_notes([METRIC]) == [
        "grain: 1 of 3 images is not counted (fewer than 289 pixels in smooth areas)"
    ]
    assert images(0.5, 0.7).coverage_notes([METRIC]) == []


def test_no_photo_with_smooth_areas_has_no_figure() -> None:
    found = images(None, None)
    assert found.mean(METRIC) is found.worst(METRIC) is None
    assert found.figures([METRIC]) == {"grain_mean": None, "grain_worst": None}
    assert found.coverage_notes([METRIC]) == [
        "grain: 2 of 2 images are not counted (fewer than 289 pixels in smooth areas)"
    ]
