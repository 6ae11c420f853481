import numpy as np
import pytest

from bokeh_runtime.errors import InputError
from bokeh_runtime.tflite.value_range import BYTES, SIGNED, UNIT, ValueRange


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [("0..1", 0, 1), ("-1..1", -1, 1), ("0..255", 0, 255), ("-0.5..0.5", -0.5, 0.5)],
)
def test_a_range_is_written_with_two_dots(text: str, low: float, high: float) -> None:
    assert ValueRange.parse(text) == ValueRange(low, high)


@pytest.mark.parametrize(
    "text", ["", "1", "0-1", "0..", "a..b", "1..0", "0..0", "0..1e999", "0..nan"]
)
def test_other_texts_are_refused_with_examples(text: str) -> None:
    with pytest.raises(InputError, match=r"0\.\.255"):
        ValueRange.parse(text)


def test_an_image_is_scaled_there_and_back() -> None:
    image = np.array([0, 0.25, 1], np.float32).reshape(1, 3, 1)
    assert UNIT.from_unit(image) is image
    np.testing.assert_array_equal(BYTES.from_unit(image).ravel(), [0, 63.75, 255])
    np.testing.assert_array_equal(SIGNED.from_unit(image).ravel(), [-1, -0.5, 1])
    for value_range in (UNIT, SIGNED, BYTES):
        scaled = value_range.to_unit(value_range.from_unit(image))
        assert scaled.dtype == np.float32
        np.testing.assert_allclose(scaled, image, atol=1e-6)
