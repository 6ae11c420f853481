"""Which value ranges are chosen for networks whose graphs say little."""

from collections.abc import Callable

import numpy as np
import pytest

from bokeh_convert.sources.value_range_choice import FoundRanges, choose_ranges
from bokeh_convert.sources.value_range_evidence import Evidence
from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.photo import FloatImage
from bokeh_runtime.tflite.value_range import BYTES, SIGNED, UNIT, ImageRanges, ValueRange

rng = np.random.default_rng(0)


def photo() -> FloatImage:
    """A dark square on a bright ground, with noise."""
    image = np.full((60, 90, 3), 0.8, np.float32)
    image[15:40, 20:60] = (0.2, 0.1, 0.3)
    return np.clip(image + rng.normal(0, 0.02, image.shape), 0, 1).astype(np.float32)


PHOTOS = [photo(), photo()[:, ::-1]]


def choose(
    run: Callable[[FloatImage], FloatImage],
    *,
    asked_input: ValueRange | None = None,
    asked_output: ValueRange | None = None,
    input_evidence: Evidence | None = None,
    output_evidence: Evidence | None = None,
) -> FoundRanges:
    return choose_ranges(
        "net.h5",
        lambda image, value_range: run(value_range.from_unit(image)),
        PHOTOS,
        asked_input=asked_input,
        asked_output=asked_output,
        input_evidence=input_evidence,
        output_evidence=output_evidence,
    )


def sigmoid(x: FloatImage) -> FloatImage:
    return 1 / (1 + np.exp(-x))


def trained_on(low: float, high: float) -> Callable[[FloatImage], FloatImage]:
    """A network that gives its photo back in 0..1 if it is fed `low` to `high`."""
    return lambda x: sigmoid(5 * ((x - low) / (high - low) - 0.5)).astype(np.float32)


@pytest.mark.parametrize("value_range", [UNIT, BYTES])
def test_the_input_range_is_the_one_whose_output_follows_the_photo(
    value_range: ValueRange,
) -> None:
    found = choose(
        trained_on(value_range.low, value_range.high),
        output_evidence=Evidence(UNIT, "it ends in sigmoid"),
    )
    assert found.ranges == ImageRanges(value_range, UNIT)


@pytest.mark.parametrize("value_range", [UNIT, SIGNED, BYTES])
def test_the_output_range_is_the_one_whose_levels_are_the_photos(value_range: ValueRange) -> None:
    found = choose(
        lambda x: value_range.from_unit(x * np.float32(0.96) + np.float32(0.01)),
        input_evidence=Evidence(UNIT, "it says so"),
    )
    assert found.ranges.output == value_range


def test_a_network_that_fits_several_ranges_alike_takes_the_unit_range() -> None:
    found = choose(lambda x: x)
    assert found.ranges == ImageRanges(UNIT, UNIT)


def test_what_the_graph_shows_is_reported_and_what_is_assumed() -> None:
    found = choose(trained_on(0, 255), input_evidence=Evidence(BYTES, "its input is uint8"))
    assert found.reasons[0] == "input range 0..255, because its input is uint8"
    assert "output range 0..1 is assumed" in found.reasons[1]


def test_a_brighter_picture_may_be_meant_so_that_a_nearer_range_is_asked_for() -> None:
    with pytest.raises(InputError, match=r"0\.\.1 .* and when it is fed -1\.\.1"):
        choose(trained_on(-1, 1), output_evidence=Evidence(UNIT, "it ends in sigmoid"))
    with pytest.raises(InputError, match="its value range is not clear"):
        choose(lambda x: np.float32(0.5) * x + np.float32(0.5))


def test_an_output_that_is_never_negative_is_not_around_zero() -> None:
    found = choose(lambda x: np.maximum(np.float32(0.3) * x, 0), asked_input=UNIT)
    assert found.ranges.output == UNIT


def test_a_range_of_which_the_output_is_not_finite_is_passed_over() -> None:
    found = choose(
        lambda x: np.tanh(np.where(x < 0, np.nan, np.sqrt(np.abs(x)))),
        output_evidence=Evidence(SIGNED, "it ends in tanh"),
        asked_output=UNIT,
    )
    assert found.ranges.input == UNIT


def test_two_ranges_that_fit_are_asked_for() -> None:
    def odd(x: FloatImage) -> FloatImage:
        """Follows the photo darkly in 0..1, and well in both other ranges."""
        if x.max() > 1.5:
            return x / np.float32(255)
        return (x + 1) / 2 if x.min() < 0 else x * np.float32(0.3)

    with pytest.raises(InputError, match=r"0\.\.1 .* when it is fed -1\.\.1.*input_range"):
        choose(odd, output_evidence=Evidence(UNIT, "it ends in sigmoid"))


@pytest.mark.parametrize(
    ("run", "fault"),
    [
        (np.zeros_like, "nearly constant"),
        (lambda x: np.full_like(x, 0.5), "nearly constant"),
        (lambda x: 0.4 + x * np.float32(0.01), "nearly constant"),
        (lambda x: rng.random(x.shape, np.float32), "unrelated to the photo"),
    ],
)
def test_an_output_that_does_not_follow_the_photo_is_an_error(
    run: Callable[[FloatImage], FloatImage], fault: str
) -> None:
    with pytest.raises(InputError, match=f"{fault}.*input_range") as caught:
        choose(run, output_evidence=Evidence(UNIT, "it ends in sigmoid"))
    assert "\n" not in str(caught.value)


def test_an_output_that_is_not_finite_is_an_error() -> None:
    with pytest.raises(InputError, match="the output has NaN or infinity"):
        choose(lambda x: np.full_like(x, np.nan))


def test_ranges_that_the_user_gave_are_taken_with_a_warning() -> None:
    found = choose(np.zeros_like, asked_input=UNIT, asked_output=UNIT)
    assert found.ranges == ImageRanges(UNIT, UNIT)
    assert found.fault is not None
    assert found.fault.startswith("nearly constant")


def test_one_range_that_the_user_gave_is_kept() -> None:
    found = choose(trained_on(0, 255), asked_input=BYTES)
    assert found.ranges == ImageRanges(BYTES, UNIT)
    with pytest.raises(InputError, match=r"nearly constant|outside|unrelated"):
        choose(trained_on(0, 255), asked_input=SIGNED)
