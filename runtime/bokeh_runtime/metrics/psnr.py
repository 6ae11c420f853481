"""Peak signal-to-noise ratio."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class PsnrSummary:
    """PSNR over several images, in dB; infinity only where every image is identical.

    Attributes:
        mean: Over the images that differ. An identical one has no finite PSNR, and any number in
            its place would lift the mean of the others.
        pooled: Of the mean squared error over all images, the identical ones among them. A mean of
            decibels is a mean of logarithms, in which a good image makes up for a bad one; this is
            not.
        worst: Of the image with the largest error.
        identical_images: How many are identical.
        images: How many there are.
    """

    mean: float
    pooled: float
    worst: float
    identical_images: int
    images: int


class PsnrStatistics(ABC):
    """What has the PSNR of several images; gives their summary's figures by the reports' names."""

    @property
    @abstractmethod
    def psnr(self) -> PsnrSummary:
        """Over all images."""

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
    """Returns `-10 log10(mean squared error)` in dB, the peak being 1.0.

    Args:
        image: [height, width, channels], in [0, 1].
        reference: The same shape and range.
        border_px: Pixels left out along each side: 0 in the protocol `full`, 32 in `paper`
            (Ignatov et al., 2020).

    Returns:
        Decibels; infinity where the two are identical.

    Raises:
        ValueError: If the shapes differ or the border leaves nothing.
    """
    if image.shape != reference.shape:
        raise ValueError(f"shapes differ: {image.shape} and {reference.shape}")
    height, width = image.shape[:2]
    if min(height, width) <= 2 * border_px:
        raise ValueError(f"a border of {border_px} px leaves nothing of {height} x {width} px")
    inside = np.s_[border_px : height - border_px, border_px : width - border_px]
    error = np.asarray(image[inside], np.float64) - np.asarray(reference[inside], np.float64)
    mean_squared = float(np.mean(np.square(error)))
    return math.inf if mean_squared == 0 else -10 * math.log10(mean_squared)


def summarize_psnr(psnr_db: Sequence[float]) -> PsnrSummary:
    """Sums up the PSNR of several images, of which each weighs the same.

    Args:
        psnr_db: Of each image, the peak being 1.0; infinity for an identical one.

    Raises:
        ValueError: If there is no image, or one of them has no PSNR (NaN).
    """
    if not psnr_db or any(math.isnan(decibels) for decibels in psnr_db):
        raise ValueError(f"no PSNR to sum up in {list(psnr_db)}")
    differing = [decibels for decibels in psnr_db if decibels != math.inf]
    mean_squared = math.fsum(10 ** (-decibels / 10) for decibels in differing) / len(psnr_db)
    return PsnrSummary(
        mean=math.fsum(differing) / len(differing) if differing else math.inf,
        pooled=-10 * math.log10(mean_squared) if differing else math.inf,
        worst=min(psnr_db),
        identical_images=len(psnr_db) - len(differing),
        images=len(psnr_db),
    )


def finite_db(decibels: float, digits: int = 3) -> float | None:
    """Returns a PSNR as JSON has it: rounded; None for infinity, of identical images.

    Raises:
        ValueError: If it is not a number.
    """
    if math.isnan(decibels):
        raise ValueError("a PSNR is not a number")
    return round(decibels, digits) if math.isfinite(decibels) else None


def psnr_text(decibels: float | None) -> str:
    """Returns a PSNR for people: "43.1 dB", or "identical" for infinity or None."""
    return "identical" if decibels is None or decibels == math.inf else f"{decibels:.1f} dB"
