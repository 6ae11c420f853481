"""Multi-scale structural similarity."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from bokeh_runtime.imaging.photo import FloatImage
from bokeh_runtime.metrics.ssim import SIGMA, WINDOW_PX

_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_LUMINANCE, _CONTRAST = 0.01**2, 0.03**2
MIN_SIDE_PX = WINDOW_PX * 2 ** (len(_SCALE_WEIGHTS) - 1)
"""The shortest side that holds the window at the last scale."""


def ms_ssim(image: FloatImage, reference: FloatImage) -> float:
    """Returns the multi-scale structural similarity, 1 for identical images.

    As in Wang, Simoncelli and Bovik, 2003: five scales, each the mean of 2 x 2 pixels of the one
    before; Gaussian windows of 11 px and sigma 1.5 that lie wholly within; the mean over the
    channels. A negative contrast term counts as 0, since a power of it has no value.

    Args:
        image: Float [height, width, channels] in [0, 1], `MIN_SIDE_PX` or more a side.
        reference: The same shape and range.

    Raises:
        ValueError: If the shapes differ or a side is under `MIN_SIDE_PX`.
    """
    if image.shape != reference.shape:
        raise ValueError(f"shapes differ: {image.shape} and {reference.shape}")
    if min(image.shape[:2]) < MIN_SIDE_PX:
        raise ValueError(f"{image.shape[0]} x {image.shape[1]} px: MS-SSIM needs {MIN_SIDE_PX} px")
    one, other = np.asarray(image, np.float64), np.asarray(reference, np.float64)
    product: npt.NDArray[np.float64] = np.ones(one.shape[2])
    last = len(_SCALE_WEIGHTS) - 1
    for scale, weight in enumerate(_SCALE_WEIGHTS):
        luminance, contrast = _terms(one, other)
        term = luminance * contrast if scale == last else contrast
        product *= np.maximum(term.mean(axis=(0, 1)), 0) ** weight
        one, other = _halved(one), _halved(other)
    return float(product.mean())


def _terms(
    one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    mean_one, mean_other = _blurred(one), _blurred(other)
    product, squares = mean_one * mean_other, mean_one**2 + mean_other**2
    covariance = _blurred(one * other) - product
    variances = _blurred(one**2 + other**2) - squares
    luminance = (2 * product + _LUMINANCE) / (squares + _LUMINANCE)
    return luminance, (2 * covariance + _CONTRAST) / (variances + _CONTRAST)


def _blurred(image: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    blurred = cv2.GaussianBlur(image, (WINDOW_PX, WINDOW_PX), SIGMA)
    cut = WINDOW_PX // 2
    return np.asarray(blurred, np.float64)[cut:-cut, cut:-cut]


def _halved(image: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    height, width = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
    even = image[:height, :width]
    quarters = even.reshape(height // 2, 2, width // 2, 2, -1)
    return np.asarray(quarters.mean(axis=(1, 3)), np.float64)
