from __future__ import annotations

import math

import numpy as np
import pytest

from bokeh_convert.report import fidelity_summary, to_json
from bokeh_convert.verify import Fidelity, ImageFidelity, compare


def test_comparison_matches_values_worked_out_by_hand() -> None:
    expected = np.full((16, 16, 3), 0.5, np.float32)
    picture = expected + np.float32(0.1)
    image = compare("grey", picture, expected)
    assert image.psnr_db == pytest.approx(20.0, abs=1e-4)
    assert image.max_abs_error == pytest.approx(0.1, abs=1e-6)
    # Flat pictures: only the luminance term is left, C1 = (0.01 * 1.0)^2.
    c1 = 0.01**2
    assert image.ssim == pytest.approx((2 * 0.5 * 0.6 + c1) / (0.5**2 + 0.6**2 + c1), abs=1e-5)


def test_a_report_sums_up_mean_and_worst() -> None:
    images = [ImageFidelity("a", 30.0, 0.9, 0.1), ImageFidelity("b", 40.0, 1.0, 0.3)]
    summary = fidelity_summary(Fidelity(images), "the file")
    assert summary["psnr_db_mean"] == 35.0
    assert summary["psnr_db_worst"] == 30.0
    assert summary["max_abs_error"] == 0.3
    assert summary["ssim_mean"] == pytest.approx(0.95)


def test_identical_pictures_stay_valid_json() -> None:
    summary = fidelity_summary(Fidelity([ImageFidelity("same", math.inf, 1.0, 0.0)]), "the file")
    assert summary["psnr_db_mean"] is None
    assert "Infinity" not in to_json(summary)
