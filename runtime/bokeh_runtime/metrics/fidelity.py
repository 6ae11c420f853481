"""Measures the fidelity of images to their references."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bokeh_runtime.imaging.photo import FloatImage
from bokeh_runtime.metrics.psnr import PsnrStatistics, PsnrSummary, psnr, summarize_psnr
from bokeh_runtime.metrics.registry import Metric
from bokeh_runtime.metrics.ssim import WINDOW_PX

PROTOCOLS = {"full": 0, "paper": 32}
"""Border in pixels that is cropped from each side; `paper` is that of Ignatov et al., 2020."""
_DIGITS = 6


@dataclass(frozen=True)
class ImageFidelity:
    """Fidelity of one image in [0, 1] to its reference.

    Attributes:
        name: Name of the image.
        psnr_db: PSNR in dB with peak 1.0; infinity if the images are identical.
        max_abs_error: Largest absolute difference of any value.
        values: Of each metric by its key, such as "ssim"; None where it is not
            defined, for example because the image is too small.
    """

    name: str
    psnr_db: float
    max_abs_error: float
    values: Mapping[str, float | None]


@dataclass(frozen=True)
class Fidelity(PsnrStatistics):
    """Fidelity of several images to their references.

    Attributes:
        images: Fidelity of each image, at least one; all with the same metrics.
        vs: Kind of the references: "full_model" or "ground_truth".
        protocol: A key of `PROTOCOLS`.
    """

    images: Sequence[ImageFidelity]
    vs: str = "full_model"
    protocol: str = "full"

    @property
    def psnr(self) -> PsnrSummary:
        return summarize_psnr([image.psnr_db for image in self.images])

    def mean(self, metric: Metric) -> float | None:
        """Returns the mean over the images that a metric is defined for; None if there is none.

        Raises:
            KeyError: If the metric was not computed.
        """
        values = self._defined(metric)
        return statistics.fmean(values) if values else None

    def worst(self, metric: Metric) -> float | None:
        """Returns the value of the worst image; None if the metric is defined for none.

        Raises:
            KeyError: If the metric was not computed.
        """
        values = self._defined(metric)
        return metric.worst(values) if values else None

    def coverage_notes(self, metrics: Sequence[Metric]) -> list[str]:
        """Returns which metrics are not defined for some images, one line each.

        Raises:
            KeyError: If a metric was not computed.
        """
        notes = (metric.coverage_note(self._values(metric)) for metric in metrics)
        return [note for note in notes if note is not None]

    def figures(self, metrics: Sequence[Metric]) -> dict[str, float | None]:
        """Returns the means, and the worst values that are shown, under their keys in JSON."""
        found = {}
        for metric in metrics:
            found[f"{metric.key}_mean"] = _rounded(self.mean(metric))
            if metric.has_worst:
                found[f"{metric.key}_worst"] = _rounded(self.worst(metric))
        return found

    def _values(self, metric: Metric) -> list[float | None]:
        return [image.values[metric.key] for image in self.images]

    def _defined(self, metric: Metric) -> list[float]:
        return [value for value in self._values(metric) if value is not None]


def compare(
    name: str,
    image: FloatImage,
    reference: FloatImage,
    *,
    border_px: int,
    metrics: Sequence[Metric],
) -> ImageFidelity:
    """Measures the fidelity of an image to a reference.

    Args:
        name: Name of the image, for the report.
        image: float [height, width, 3] in [0, 1].
        reference: The reference, of the same shape and range.
        border_px: Border in pixels that is cropped from each side.
        metrics: What to compute besides the PSNR.

    Raises:
        InputError: If a package that a metric needs is not installed.
        ValueError: If the shapes differ, or the cropped image is smaller than SSIM's window.
    """
    psnr_db = psnr(image, reference, border_px=border_px)
    inner, inner_reference = _cropped(image, border_px), _cropped(reference, border_px)
    largest = float(np.max(np.abs(inner - inner_reference)))
    values = {metric.key: metric.compute(inner, inner_reference) for metric in metrics}
    return ImageFidelity(name, psnr_db, largest, values)


def protocols_for(height: int, width: int) -> list[str]:
    """Returns the protocols whose cropped image is not smaller than SSIM's window.

    Args:
        height: Height of the image in pixels.
        width: Width of the image in pixels.
    """
    return [
        name for name, border in PROTOCOLS.items() if min(height, width) - 2 * border >= WINDOW_PX
    ]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DIGITS)


def _cropped(image: FloatImage, border_px: int) -> FloatImage:
    height, width = image.shape[:2]
    inside = np.s_[border_px : height - border_px, border_px : width - border_px]
    return np.ascontiguousarray(image[inside], np.float32)
