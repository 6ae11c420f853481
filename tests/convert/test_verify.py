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
    same = ImageFidelity("same", math.inf, 0.0, {"ssim": 1.0, "grain": 0.0})
    summary = fidelity_summary(Fidelity([same]))
    assert summary["psnr_db_mean"] is summary["psnr_db_pooled"] is summary["psnr_db_worst"] is None
    assert summary["identical_images"] == 1
    assert summary["images"][0]["identical"] is True
    assert "Infinity" not in to_json(summary)


def fidelity(*psnr_db: float) -> Fidelity:
    return Fidelity(
        [
            ImageFidelity(f"photo {i}", db, 0.0, {"ssim": 1.0, "grain": 0.0})
            for i, db in enumerate(psnr_db)
        ]
    )


def grained(*grain: float | None) -> Fidelity:
    return Fidelity(
        [
            ImageFidelity(f"photo {i}", 50.0, 0.0, {"ssim": 1.0, "grain": value})
            for i, value in enumerate(grain)
        ]
    )


@pytest.mark.parametrize(
    ("grain", "over"),
    [
        ((0.2, 0.5), None),
        ((0.2, 0.6, 0.1), "grain 0.60 of the worst photo (photo 1) is above 0.50"),
        ((None, 0.6), "grain 0.60 of the worst photo (photo 1) is above 0.50"),
        ((None, 0.4), None),
        ((math.nan,), "is above 0.50"),
        # A limit that was asked for, and that nothing was held to, is not met.
        (
            (None, None),
            "grain was not measured: every photo has fewer than 289 pixels in smooth areas",
        ),
    ],
)
def test_the_worst_photo_is_held_to_the_limit_on_its_grain(
    grain: tuple[float | None, ...], over: str | None
) -> None:
    shortfall = FidelityLimits(worst={"grain": 0.5}).shortfall(grained(*grain))
    assert shortfall is None if over is None else shortfall is not None and over in shortfall
    assert FidelityLimits().shortfall(grained(*grain)) is None


def test_all_missed_limits_are_named() -> None:
    shortfall = FidelityLimits(60, 60, {"grain": 0.5, "ssim": 1.5}).shortfall(grained(0.6))
    assert shortfall == (
        "mean PSNR 50.0 dB is below 60 dB; pooled PSNR 50.0 dB is below 60 dB; "
        "PSNR of the worst photo (photo 0) 50.0 dB is below 60 dB; "
        "SSIM 1.0000 of the worst photo (photo 0) is below 1.5000; "
        "grain 0.60 of the worst photo (photo 0) is above 0.50"
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
