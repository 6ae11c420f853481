"""How near a picture is to another: PSNR, SSIM, MS-SSIM and FLIP, in both protocols."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import flip_evaluator
import numpy as np
import numpy.typing as npt

from bokeh_convert.verify.ssim import ssim
from bokeh_runtime.imaging.photo import FloatImage
from bokeh_runtime.metrics.psnr import PsnrSummary, SummedUp, psnr, summarize_psnr

PROTOCOLS = {"full": 0, "paper": 32}
"""Pixels left out along each side; `paper` is that of Ignatov et al., 2020."""
_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_WINDOW_PX, _SIGMA = 11, 1.5
_LUMINANCE, _CONTRAST = 0.01**2, 0.03**2
SMALLEST_MS_SSIM_PX = _WINDOW_PX * 2 ** (len(_SCALE_WEIGHTS) - 1)


@dataclass(frozen=True)
class ImageFidelity:
    """One picture against another; both are clipped to [0, 1] first.

    Attributes:
        psnr_db: Peak 1.0; infinity if identical.
        ssim: See `bokeh_convert.verify.ssim`.
        ms_ssim: See `ms_ssim`; None for pictures under `SMALLEST_MS_SSIM_PX`.
        flip: Mean of LDR-FLIP (Andersson et al., 2020), 0 for identical pictures; seen at 67 px a
            degree, as from 0.7 m at a 4K screen.
    """

    name: str
    psnr_db: float
    ssim: float
    ms_ssim: float | None
    flip: float


@dataclass(frozen=True)
class Fidelity(SummedUp):
    """Pictures against others in one protocol.

    Attributes:
        vs: "full_model" or "ground_truth".
        protocol: A key of `PROTOCOLS`.
        images: In the order of the pictures; at least one.
    """

    vs: str
    protocol: str
    images: Sequence[ImageFidelity]

    @property
    def psnr(self) -> PsnrSummary:
        return summarize_psnr([image.psnr_db for image in self.images])

    @property
    def ssim_mean(self) -> float:
        return statistics.fmean(image.ssim for image in self.images)

    @property
    def ms_ssim_mean(self) -> float | None:
        values = [image.ms_ssim for image in self.images if image.ms_ssim is not None]
        return statistics.fmean(values) if len(values) == len(self.images) else None

    @property
    def flip_mean(self) -> float:
        return statistics.fmean(image.flip for image in self.images)


def compare(name: str, picture: FloatImage, expected: FloatImage, border_px: int) -> ImageFidelity:
    """Compares two pictures, float [height, width, 3] in [0, 1].

    Raises:
        ValueError: If their shapes differ or the border leaves less than SSIM's window.
    """
    height, width = expected.shape[:2]
    inside = np.s_[border_px : height - border_px, border_px : width - border_px]
    psnr_db = psnr(picture, expected, border_px=border_px)
    ours, theirs = (
        np.ascontiguousarray(image[inside], np.float32) for image in (picture, expected)
    )
    large = min(ours.shape[:2]) >= SMALLEST_MS_SSIM_PX
    _, flip, _ = flip_evaluator.evaluate(theirs, ours, "LDR", applyMagma=False)
    return ImageFidelity(
        name, psnr_db, ssim(ours, theirs), ms_ssim(ours, theirs) if large else None, float(flip)
    )


def protocols_for(height: int, width: int) -> list[str]:
    """Returns the protocols whose border leaves enough of a picture for SSIM's window."""
    return [
        name for name, border in PROTOCOLS.items() if min(height, width) - 2 * border >= _WINDOW_PX
    ]


def ms_ssim(picture: FloatImage, expected: FloatImage) -> float:
    """Returns the multi-scale structural similarity, 1 for identical pictures.

    As in Wang, Simoncelli and Bovik, 2003: five scales, each the mean of 2 x 2 pixels of the one
    before; Gaussian windows of 11 px and sigma 1.5 that lie wholly within; the mean over the
    channels. A negative contrast term counts as 0, since a power of it has no value.

    Args:
        picture: Float [height, width, channels] in [0, 1], `SMALLEST_MS_SSIM_PX` or more a side.
        expected: The same shape and range.
    """
    one, other = np.asarray(picture, np.float64), np.asarray(expected, np.float64)
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
    blurred = cv2.GaussianBlur(image, (_WINDOW_PX, _WINDOW_PX), _SIGMA)
    cut = _WINDOW_PX // 2
    return np.asarray(blurred, np.float64)[cut:-cut, cut:-cut]


def _halved(image: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    height, width = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
    even = image[:height, :width]
    quarters = even.reshape(height // 2, 2, width // 2, 2, -1)
    return np.asarray(quarters.mean(axis=(1, 3)), np.float64)
