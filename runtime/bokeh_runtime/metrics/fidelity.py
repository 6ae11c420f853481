"""Measures the fidelity of images to their references."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bokeh_runtime.imaging.photo import FloatImage
from bokeh_runtime.metrics.flip import flip
from bokeh_runtime.metrics.ms_ssim import MIN_SIDE_PX, ms_ssim
from bokeh_runtime.metrics.psnr import PsnrStatistics, PsnrSummary, psnr, summarize_psnr
from bokeh_runtime.metrics.ssim import WINDOW_PX, ssim

PROTOCOLS = {"full": 0, "paper": 32}
"""Border in pixels that is cropped from each side; `paper` is that of Ignatov et al., 2020."""


@dataclass(frozen=True)
class ImageFidelity:
    """Fidelity of one image in [0, 1] to its reference.

    Attributes:
        name: Name of the image.
        psnr_db: PSNR in dB with peak 1.0; infinity if the images are identical.
        ssim: See `bokeh_runtime.metrics.ssim`.
        max_abs_error: Largest absolute difference of any value.
    """

    name: str
    psnr_db: float
    ssim: float
    max_abs_error: float


@dataclass(frozen=True)
class Fidelity(PsnrStatistics):
    """Fidelity of several images to their references.

    Attributes:
        images: Fidelity of each image, at least one.
        vs: Kind of the references: "full_model" or "ground_truth".
        protocol: A key of `PROTOCOLS`.
    """

    images: Sequence[ImageFidelity]
    vs: str = "full_model"
    protocol: str = "full"

    @property
    def psnr(self) -> PsnrSummary:
        return summarize_psnr([image.psnr_db for image in self.images])

    @property
    def ssim_mean(self) -> float:
        return statistics.fmean(image.ssim for image in self.images)


@dataclass(frozen=True)
class PerceptualImageFidelity(ImageFidelity):
    """An `ImageFidelity` with perceptual metrics, which take more time.

    Attributes:
        ms_ssim: See `bokeh_runtime.metrics.ms_ssim`; None if the image is too small for it.
        flip: See `bokeh_runtime.metrics.flip`.
    """

    ms_ssim: float | None
    flip: float


@dataclass(frozen=True)
class PerceptualFidelity(Fidelity):
    """A `Fidelity` with perceptual metrics."""

    images: Sequence[PerceptualImageFidelity]

    @property
    def ms_ssim_mean(self) -> float | None:
        """Mean over the images; None if an image is too small for it."""
        values = [image.ms_ssim for image in self.images if image.ms_ssim is not None]
        return statistics.fmean(values) if len(values) == len(self.images) else None

    @property
    def flip_mean(self) -> float:
        return statistics.fmean(image.flip for image in self.images)


def compare(
    name: str, image: FloatImage, reference: FloatImage, *, border_px: int
) -> ImageFidelity:
    """Measures the fidelity of an image to a reference.

    Args:
        name: Name of the image, for the report.
        image: float [height, width, 3] in [0, 1].
        reference: The reference, of the same shape and range.
        border_px: Border in pixels that is cropped from each side.

    Raises:
        InputError: If scikit-image is not installed.
        ValueError: If the shapes differ, or the cropped image is smaller than SSIM's window.
    """
    psnr_db = psnr(image, reference, border_px=border_px)
    inner, inner_reference = _cropped(image, border_px), _cropped(reference, border_px)
    largest = float(np.max(np.abs(inner - inner_reference)))
    return ImageFidelity(name, psnr_db, ssim(inner, inner_reference), largest)


def compare_perceptually(
    name: str, image: FloatImage, reference: FloatImage, *, border_px: int
) -> PerceptualImageFidelity:
    """Measures the fidelity of an image with perceptual metrics; see `compare` for the arguments.

    Raises:
        InputError: If scikit-image or flip-evaluator is not installed.
        ValueError: If the shapes differ, or the cropped image is smaller than SSIM's window.
    """
    base = compare(name, image, reference, border_px=border_px)
    inner, inner_reference = _cropped(image, border_px), _cropped(reference, border_px)
    large = min(inner.shape[:2]) >= MIN_SIDE_PX
    return PerceptualImageFidelity(
        name,
        base.psnr_db,
        base.ssim,
        base.max_abs_error,
        ms_ssim(inner, inner_reference) if large else None,
        flip(inner, inner_reference),
    )


def protocols_for(height: int, width: int) -> list[str]:
    """Returns the protocols whose cropped image is not smaller than SSIM's window.

    Args:
        height: Height of the image in pixels.
        width: Width of the image in pixels.
    """
    return [
        name for name, border in PROTOCOLS.items() if min(height, width) - 2 * border >= WINDOW_PX
    ]


def _cropped(image: FloatImage, border_px: int) -> FloatImage:
    height, width = image.shape[:2]
    inside = np.s_[border_px : height - border_px, border_px : width - border_px]
    return np.ascontiguousarray(image[inside], np.float32)
