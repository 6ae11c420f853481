from __future__ import annotations

import math
import sys

import numpy as np
import pytest

from bokeh_runtime.errors import InputError
from bokeh_runtime.metrics import fidelity
from bokeh_runtime.metrics import ms_ssim as ms_ssim_module
from bokeh_runtime.metrics.fidelity import Fidelity, ImageFidelity, protocols_for
from bokeh_runtime.metrics.flip import flip
from bokeh_runtime.metrics.ms_ssim import METRIC as MS_SSIM
from bokeh_runtime.metrics.ms_ssim import ms_ssim
from bokeh_runtime.metrics.registry import all_metrics, conversion_metrics
from bokeh_runtime.metrics.ssim import METRIC as SSIM
from bokeh_runtime.metrics.ssim import ssim
from helpers.skips import ELSEWHERE


def compare(
    name: str, image: np.ndarray, reference: np.ndarray, *, border_px: int
) -> ImageFidelity:
    metrics = conversion_metrics()
    return fidelity.compare(name, image, reference, border_px=border_px, metrics=metrics)


def compare_with_all(name: str, image: np.ndarray, reference: np.ndarray) -> ImageFidelity:
    return fidelity.compare(name, image, reference, border_px=0, metrics=all_metrics())


@pytest.fixture
def extras() -> None:
    for name in ("skimage", "flip_evaluator"):
        pytest.importorskip(name, reason=f"{ELSEWHERE}no extra `bench`")


@pytest.fixture
def pair(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A structured picture and a damaged copy, [200, 240, 3]."""
    rows, columns = np.mgrid[0:200, 0:240] / 12
    waves = np.dstack([np.sin(rows + i) * np.cos(columns * (i + 1)) for i in range(3)])
    picture = (0.5 + 0.4 * waves).astype(np.float32)
    damaged = np.clip(picture * 0.9 + rng.normal(0, 0.05, picture.shape), 0, 1)
    return damaged.astype(np.float32), picture


@pytest.mark.usefixtures("extras")
def test_psnr_by_hand_in_both_protocols() -> None:
    black = np.zeros((200, 200, 3), np.float32)
    grey = black + 0.1
    assert compare("a", grey, black, border_px=0).psnr_db == pytest.approx(20, abs=1e-5)
    framed = black.copy()
    framed[:32] = 1  # 32 of 200 rows are wrong by 1
    whole, inside = (compare("a", framed, black, border_px=border) for border in (0, 32))
    assert whole.psnr_db == pytest.approx(-10 * math.log10(0.16))
    assert inside.psnr_db == math.inf
    assert (whole.max_abs_error, inside.max_abs_error) == (1, 0)


@pytest.mark.usefixtures("extras")
def test_comparison_matches_values_worked_out_by_hand() -> None:
    expected = np.full((16, 16, 3), 0.5, np.float32)
    image = compare("grey", expected + np.float32(0.1), expected, border_px=0)
    assert image.psnr_db == pytest.approx(20.0, abs=1e-4)
    assert image.max_abs_error == pytest.approx(0.1, abs=1e-6)
    # Flat pictures: only the luminance term is left, C1 = (0.01 * 1.0)^2.
    c1 = 0.01**2
    assert image.values["ssim"] == pytest.approx(
        (2 * 0.5 * 0.6 + c1) / (0.5**2 + 0.6**2 + c1), abs=1e-5
    )


@pytest.mark.usefixtures("extras")
def test_ssim_and_ms_ssim_by_hand() -> None:
    # Two flat pictures have no contrast: what is left is the luminance term.
    one, other = np.full((176, 200, 3), 0.4, np.float32), np.full((176, 200, 3), 0.6, np.float32)
    luminance = (2 * 0.4 * 0.6 + 1e-4) / (0.4**2 + 0.6**2 + 1e-4)
    assert ssim(one, other) == pytest.approx(luminance, abs=1e-5)
    assert ms_ssim(one, other) == pytest.approx(luminance**0.1333, abs=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("extras")
def test_ssim_and_ms_ssim_agree_with_tensorflows(pair: tuple[np.ndarray, np.ndarray]) -> None:
    tf = pytest.importorskip("tensorflow", reason=f"{ELSEWHERE}no TensorFlow")
    damaged, picture = (tf.constant(image[None]) for image in pair)
    assert ssim(*pair) == pytest.approx(float(tf.image.ssim(damaged, picture, 1.0)[0]), abs=1e-4)
    theirs = float(tf.image.ssim_multiscale(damaged, picture, 1.0)[0])
    assert ms_ssim(*pair) == pytest.approx(theirs, abs=1e-4)
    assert 0.5 < theirs < 0.99


def test_opposite_pictures_have_no_ms_ssim_below_zero(pair: tuple[np.ndarray, np.ndarray]) -> None:
    assert ms_ssim(1 - pair[1], pair[1]) == 0


@pytest.mark.usefixtures("extras")
def test_identical_pictures_are_perfect(pair: tuple[np.ndarray, np.ndarray]) -> None:
    found = compare_with_all("same", pair[1], pair[1])
    assert (found.psnr_db, found.max_abs_error, found.values["flip"]) == (math.inf, 0, 0)
    assert (found.values["ssim"], found.values["ms_ssim"]) == pytest.approx((1, 1))


@pytest.mark.usefixtures("extras")
def test_flip_grows_with_the_error_and_ignores_what_eyes_cannot_see() -> None:
    grey = np.full((180, 180, 3), 0.5, np.float32)
    checks = np.indices((180, 180)).sum(axis=0)[..., None] % 2 * 0.1 - 0.05
    flips = [flip(grey + np.float32(error), grey) for error in (0.01, 0.05, 0.2)]
    assert 0 < flips[0] < flips[1] < flips[2] < 1
    # A checkerboard of single pixels has the error of a shift by 0.05, and blends from afar.
    fine = compare_with_all("a", (grey + checks).astype(np.float32), grey)
    assert fine.psnr_db == pytest.approx(-20 * math.log10(0.05), abs=0.01)
    assert fine.values["flip"] < flips[1] / 2


@pytest.mark.usefixtures("extras")
def test_small_images_have_the_metrics_that_fit_them() -> None:
    small = np.zeros((64, 96, 3), np.float32)
    found = compare_with_all("a", small, small)
    assert found.values["ms_ssim"] is None
    assert Fidelity([found]).mean(MS_SSIM) is Fidelity([found]).worst(MS_SSIM) is None


def test_the_protocols_depend_on_the_image_size() -> None:
    assert ms_ssim_module.MIN_SIDE_PX == 176
    assert protocols_for(64, 96) == ["full"]
    assert protocols_for(75, 96) == ["full", "paper"]
    small = np.zeros((175, 200, 3), np.float32)
    with pytest.raises(ValueError, match="MS-SSIM needs 176 px"):
        ms_ssim(small, small)


@pytest.mark.parametrize("metric", [flip, ms_ssim, lambda a, b: compare("a", a, b, border_px=0)])
def test_other_shapes_are_refused(metric) -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        metric(np.zeros((20, 20, 3), np.float32), np.zeros((20, 22, 3), np.float32))


@pytest.mark.parametrize(
    ("metric", "module", "message"),
    [
        (ssim, "skimage.metrics", "SSIM: scikit-image is not installed"),
        (flip, "flip_evaluator", "FLIP: flip-evaluator is not installed"),
    ],
)
def test_a_missing_extra_is_named(metric, module, message, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # so an import of it fails
    picture = np.zeros((20, 20, 3), np.float32)
    with pytest.raises(InputError, match=rf"^{message}; run: pip install 'bokeh-tflite\[bench\]'$"):
        metric(picture, picture)


@pytest.mark.usefixtures("extras")
def test_means_are_over_the_images() -> None:
    black = np.zeros((16, 16, 3), np.float32)
    images = [compare("a", black + np.float32(error), black, border_px=0) for error in (0.1, 0.01)]
    found = Fidelity(images)
    assert (found.vs, found.protocol) == ("full_model", "full")
    assert found.psnr_db_mean == pytest.approx(30, abs=1e-4)
    assert found.mean(SSIM) == pytest.approx(sum(image.values["ssim"] for image in images) / 2)
    assert found.worst(SSIM) == images[0].values["ssim"]
