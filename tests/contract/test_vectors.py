"""Python gives the contract's vectors, and its libraries have the contract's constants."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from bokeh_runtime.contract import load
from bokeh_runtime.contract.constants import JOIN, PREPARE
from helpers import contract_vectors


def compare(made: Any, committed: Any, where: str = "") -> None:
    """Raises AssertionError where more differs than versions of the libraries may."""
    if isinstance(committed, dict):
        assert set(made) == set(committed), where
        for key, value in committed.items():
            compare(made[key], value, f"{where}/{key}")
    elif isinstance(committed, list):
        assert len(made) == len(committed), where
        for i, value in enumerate(committed):
            compare(made[i], value, f"{where}/{i}")
    elif isinstance(committed, float):
        assert made == pytest.approx(committed, abs=1e-5), where
    elif "/results/" in where:  # bytes, which a rounding may change
        assert abs(made - committed) <= 1, where
    else:
        assert made == committed, where


@pytest.mark.parametrize("name", ["prepare", "join"])
def test_python_gives_the_committed_vectors(name: str) -> None:
    made = {"prepare": contract_vectors.prepare, "join": contract_vectors.join}[name]()
    compare(made, load(f"vectors/{name}.json"))


def keys_cubic(distance: float, a: float) -> float:
    """The kernel of Keys (1981), written down once more."""
    x = abs(distance)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


IMPULSE = np.eye(1, 9, 4, dtype=np.float32)


def opencv_grows(line: np.ndarray) -> np.ndarray:
    return cv2.resize(line, (27, 1), interpolation=cv2.INTER_CUBIC)[0]


def pillow_shrinks(line: np.ndarray) -> np.ndarray:
    wide = np.repeat(line, 3, axis=1)  # of 27 pixels to 9: each reads 12
    return np.asarray(Image.fromarray(wide).resize((9, 1), Image.Resampling.BICUBIC))[0]


@pytest.mark.parametrize(
    ("scaled", "expected"),
    [
        (
            opencv_grows(IMPULSE),
            [keys_cubic((i + 0.5) / 3 - 0.5 - 4, PREPARE.bicubic_upscale_a) for i in range(27)],
        ),
        (
            pillow_shrinks(IMPULSE),
            [
                sum(
                    keys_cubic((k + 0.5) / 3 - (i + 0.5), PREPARE.bicubic_downscale_a)
                    for k in (12, 13, 14)
                )
                / sum(
                    keys_cubic((k + 0.5) / 3 - (i + 0.5), PREPARE.bicubic_downscale_a)
                    for k in range(27)
                )
                for i in range(9)
            ],
        ),
    ],
    ids=["growing", "shrinking"],
)
def test_the_libraries_kernels_are_the_contracts(scaled: np.ndarray, expected: list[float]) -> None:
    np.testing.assert_allclose(scaled, expected, atol=1e-5)


def test_pillow_reads_no_further_than_the_contract_says() -> None:
    reach = np.flatnonzero(pillow_shrinks(IMPULSE))
    assert reach.max() - 4 <= PREPARE.bicubic_downscale_support_px
    assert len(reach) > PREPARE.bicubic_downscale_support_px


def test_the_bands_kernel_is_the_one_that_opencv_chooses(rng: np.random.Generator) -> None:
    image = rng.random((20, 30, 3), np.float32)
    taps = 2 * JOIN.band_radius_px + 1
    chosen = cv2.GaussianBlur(image, (0, 0), JOIN.band_sigma_px)
    np.testing.assert_array_equal(cv2.GaussianBlur(image, (taps, taps), JOIN.band_sigma_px), chosen)
