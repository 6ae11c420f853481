"""Peak signal-to-noise ratio (PSNR)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class PsnrSummary:
    """PSNR of several images in dB. A value is infinity only if all images are identical.

    Attributes:
        mean: Mean over the images that differ from their reference. An identical image has no
            finite PSNR.
        pooled: PSNR of the mean squared error over all images, including identical ones. Unlike
            the mean, it does not let good images compensate for bad ones.
        worst: PSNR of the image with the largest error.
        identical_images: Number of images that are identical to their reference.
        images: Number of images.
    """

    mean: float
    pooled: float
    worst: float
    identical_images: int
    images: int


class PsnrStatistics(ABC):
    """Mixin for a class with a PSNR summary: its values under the names of the JSON reports."""

    @property
    @abstractmethod
    def psnr(self) -> PsnrSummary:
        """PSNR summary of all images."""

    @property
    def psnr_db_mean(self) -> float:
        return self.psnr.mean

    @property
    def psnr_db_pooled(self) -> float:
        return self.psnr.pooled

    @property
    def psnr_db_worst(self) -> float:
        return self.psnr.worst


def psnr(
    image: npt.NDArray[np.floating], reference: npt.NDArray[np.floating], *, border_px: int
) -> float:
    """Computes the PSNR, -10 log10(mean squared error), with peak 1.0.

    Args:
        image: float [height, width, channels] in [0, 1].
        reference: The reference, of the same shape and range.
        border_px: Border in pixels that is cropped from each side: 0 in the protocol `full`, 32 in
            `paper` (Ignatov et al., 2020).

    Returns:
        PSNR in dB; infinity if the images are identical.

    Raises:
        ValueError: If the shapes differ, or nothing is left after cropping.
    """
    if image.shape != reference.shape:
        raise ValueError(f"shapes differ: {image.shape} and {reference.shape}")
    height, width = image.shape[:2]
    if min(height, width) <= 2 * border_px:
        raise ValueError(f"border {border_px} px is too large for {height} x {width} px")
    inner = np.s_[border_px : height - border_px, border_px : width - border_px]
    error = np.asarray(image[inner], np.float64) - np.asarray(reference[inner], np.float64)
    mean_squared = float(np.mean(np.square(error)))
    return math.inf if mean_squared == 0 else -10 * math.log10(mean_squared)


def summarize_psnr(psnr_db: Sequence[float]) -> PsnrSummary:
    """Summarizes the PSNR of several images with equal weights.

    Args:
        psnr_db: PSNR of each image in dB with peak 1.0; infinity for an identical image.

    Raises:
        ValueError: If there is no image, or a value is NaN.
    """
    if not psnr_db or any(math.isnan(value) for value in psnr_db):
        raise ValueError(f"no valid PSNR values: {list(psnr_db)}")
    differing = [value for value in psnr_db if value != math.inf]
    mean_squared = math.fsum(10 ** (-value / 10) for value in differing) / len(psnr_db)
    return PsnrSummary(
        mean=math.fsum(differing) / len(differing) if differing else math.inf,
        pooled=-10 * math.log10(mean_squared) if differing else math.inf,
        worst=min(psnr_db),
        identical_images=len(psnr_db) - len(differing),
        images=len(psnr_db),
    )


def finite_db(value: float, digits: int = 3) -> float | None:
    """Returns a PSNR for a JSON report: rounded, and None for infinity (identical images).

    Raises:
        ValueError: If the value is NaN.
    """
    if math.isnan(value):
        raise ValueError("PSNR is NaN")
    return round(value, digits) if math.isfinite(value) else None


def psnr_text(value: float | None) -> str:
    """Formats a PSNR: "43.1 dB", or "identical" for infinity or None."""
    return "identical" if value is None or value == math.inf else f"{value:.1f} dB"
