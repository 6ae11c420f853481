from __future__ import annotations

import math

import pytest

from bokeh_convert.report import fidelity_summary, to_json
from bokeh_convert.verify.verification import FidelityLimits
from bokeh_runtime.metrics.fidelity import Fidelity, ImageFidelity


def test_a_report_sums_up_mean_and_worst() -> None:
    images = [
        ImageFidelity("a", 30.0, 0.1, {"ssim": 0.9, "grain": 0.5}),
        ImageFidelity("b", 40.0, 0.3, {"ssim": 1.0, "grain": 0.0}),
    ]
    summary = fidelity_summary(Fidelity(images))
    assert summary["psnr_db_mean"] == 35.0
    assert summary["psnr_db_pooled"] == pytest.approx(10 * math.log10(2 / 0.0011), abs=1e-3)
    assert summary["psnr_db_worst"] == 30.0
    assert summary["max_abs_error"] == 0.3
    assert summary["ssim_mean"] == pytest.approx(0.95)


def test_identical_outputs_stay_valid_json() -> None:
    summary = fidelity_summary(Fidelity([ImageFidelity("same", math.inf, 0.0, {"ssim": 1.0, "grain": 0.0})]))
    assert summary["psnr_db_mean"] is summary["psnr_db_pooled"] is summary["psnr_db_worst"] is None
    assert summary["identical_images"] == 1
    assert summary["images"][0]["identical"] is True
    assert "Infinity" not in to_json(summary)


def fidelity(*psnr_db: float) -> Fidelity:
    return Fidelity(
        [ImageFidelity(f"photo {i}", db, 0.0, {"ssim": 1.0, "grain": 0.0}) for i, db in enumerate(psnr_db)]
    )


def test_an_identical_photo_does_not_hide_a_bad_one() -> None:
    found = fidelity(math.inf, 9.0)
    summary = fidelity_summary(found)
    assert (summary["psnr_db_mean"], summary["psnr_db_pooled"]) == (9.0, 12.01)
    assert (summary["psnr_db_worst"], summary["identical_images"]) == (9.0, 1)
    assert [image["identical"] for image in summary["images"]] == [True, False]
    shortfall = FidelityLimits(40, 37).shortfall(found)
    assert shortfall == (
        "mean PSNR 9.0 dB is below 40 dB; pooled PSNR 12.0 dB is below 40 dB; "
        "PSNR of the worst photo (photo 1) 9.0 dB is below 37 dB"
    )


@pytest.mark.parametrize(
    ("psnr_db", "limits", "under"),
    [
        ((41, 40), FidelityLimits(40, 37), None),
        ((math.inf, math.inf), FidelityLimits(40, 37), None),
        ((9,), FidelityLimits(), None),
        # Good photos compensate for a bad one only in the mean.
        ((60, 60, 60, 20), FidelityLimits(40), "pooled PSNR 26.0 dB is below 40 dB"),
        ((50, 50, 36), FidelityLimits(40, 37), "PSNR of the worst photo (photo 2) 36.0 dB is"),
        # Identical photos compensate for a bad one only in the pooled error.
        (
            (math.inf,) * 99 + (39,),
            FidelityLimits(40),
            "mean PSNR 39.0 dB is below 40 dB",
        ),
        ((50, 50), FidelityLimits(math.nan), "is below nan dB"),
    ],
)
def test_mean_pooled_and_worst_are_each_held_to_their_limit(
    psnr_db: tuple[float, ...], limits: FidelityLimits, under: str | None
) -> None:
    shortfall = limits.shortfall(fidelity(*psnr_db))
    assert shortfall is None if under is None else shortfall is not None and under in shortfall
