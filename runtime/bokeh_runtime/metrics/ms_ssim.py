"""Multi-scale structural similarity (MS-SSIM)."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from bokeh_runtime.imaging.photo import FloatImage
from bokeh_runtime.metrics.registry import Metric
from bokeh_runtime.metrics.ssim import SIGMA, WINDOW_PX

_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_C1, _C2 = 0.01**2, 0.03**2
MIN_SIDE_PX = WINDOW_PX * 2 ** (len(_SCALE_WEIGHTS) - 1)
"""Smallest side of an image that is not smaller than the window at the last scale."""


def ms_ssim(image: FloatImage, reference: FloatImage) -> float:
    """Computes the MS-SSIM of Wang, Simoncelli and Bovik, 2003, as a mean over the channels.

    There are five scales; each halves the previous one by averaging 2 x 2 pixels. The Gaussian
    window has 11 px and sigma 1.5, and is not applied beyond the border. A negative contrast term
    counts as 0, since its fractional power is undefined.

    Args:
        image: float [height, width, channels] in [0, 1], at least `MIN_SIDE_PX` on each side.
        reference: The reference, of the same shape and range.

    Returns:
        0 to 1; 1 for identical images.

    Raises:
        ValueError: If the shapes differ or a side is under `MIN_SIDE_PX`.
    """
    if image.shape != reference.shape:
        raise ValueError(f"shapes differ: {image.shape} and {reference.shape}")
    if min(image.shape[:2]) < MIN_SIDE_PX:
        raise ValueError(f"{image.shape[0]} x {image.shape[1]} px: MS-SSIM needs {MIN_SIDE_PX} px")
    a, b = np.asarray(image, np.float64), np.asarray(reference, np.float64)
    product: npt.NDArray[np.float64] = np.ones(a.shape[2])
    last = len(_SCALE_WEIGHTS) - 1
    for scale, weight in enumerate(_SCALE_WEIGHTS):
        luminance, contrast = _luminance_and_contrast(a, b)
        term = luminance * contrast if scale == last else contrast
        product *= np.maximum(term.mean(axis=(0, 1)), 0) ** weight
        a, b = _halved(a), _halved(b)
    return float(product.mean())


def _luminance_and_contrast(
    a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    mean_a, mean_b = _blurred(a), _blurred(b)
    product, squares = mean_a * mean_b, mean_a**2 + mean_b**2
    covariance = _blurred(a * b) - product
    variances = _blurred(a**2 + b**2) - squares
    luminance = (2 * product + _C1) / (squares + _C1)
    return luminance, (2 * covariance + _C2) / (variances + _C2)


def _blurred(image: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    blurred = cv2.GaussianBlur(image, (WINDOW_PX, WINDOW_PX), SIGMA)
    border = WINDOW_PX // 2
    return np.asarray(blurred, np.float64)[border:-border, border:-border]


def _halved(image: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    height, width = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
    even = image[:height, :width]
    quarters = even.reshape(height // 2, 2, width // 2, 2, -1)
    return np.asarray(quarters.mean(axis=(1, 3)), np.float64)


def _if_large(image: FloatImage, reference: FloatImage) -> float | None:
    return ms_ssim(image, reference) if min(image.shape[:2]) >= MIN_SIDE_PX else None


METRIC = Metric(
    "ms_ssim",
    "MS-SSIM",
    _if_large,
    higher_is_better=True,
    in_conversions=False,
    in_tables=False,
    order=1,
    undefined_for=f"a side under {MIN_SIDE_PX} px",
)
