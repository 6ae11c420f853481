"""The picture of a crop at full size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bokeh_bench.studies import crop
from bokeh_bench.studies.crop import CROP, PANELS, save_crops, smoothest
from bokeh_runtime.imaging.photo import read_photo


def test_the_smoothest_crop_of_medium_brightness_is_found(rng: np.random.Generator) -> None:
    height, width = CROP
    image = rng.uniform(0.3, 0.7, (height + 60, width + 260, 3)).astype(np.float32)
    image[:, :width] = 0.0  # smooth, and black
    image[20 : 20 + height, width + 30 : 2 * width + 30] = 0.5
    assert smoothest(image) == (20, width + 30)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_photo_of_8_or_16_bits_is_scaled_without_loss(
    dtype: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crop, "PHOTO_PIXELS", 4 * 20 * 30)
    high = np.iinfo(dtype).max
    ramp = np.linspace(0.2, 0.8, 30) * high
    large = crop.at_full_size(np.tile(ramp[None, :, None], (20, 1, 3)).astype(dtype))
    assert large.shape == (40, 60, 3)
    assert large.dtype == dtype
    expected = np.linspace(0.2, 0.8, 60)
    np.testing.assert_allclose(large[20, :, 1] / high, expected, atol=0.02)


def test_contrast_is_strengthened_alike_in_all_crops(tmp_path: Path) -> None:
    crops = [np.full((*CROP, 3), 0.5 + 0.05 * i, np.float32) for i in range(len(PANELS))]
    save_crops(tmp_path / "crops.png", crops, 2.0)
    pixels = read_photo(tmp_path / "crops.png").pixels
    middles = [pixels[-1, i * (CROP[1] + 6) + CROP[1] // 2, 0] / 255 for i in range(len(PANELS))]
    np.testing.assert_allclose(middles, [0.5, 0.6, 0.7, 0.8], atol=0.01)
