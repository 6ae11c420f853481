"""Compares the output of a .tflite file with that of the full model, photo by photo."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from bokeh_convert.data.calibration_data import Sample, read_sample, to_network_input
from bokeh_convert.sources.float_model import SizedModel
from bokeh_runtime.backends.interpreter import TfliteModel
from bokeh_runtime.errors import Argument, InputError
from bokeh_runtime.imaging.photo import FloatImage
from bokeh_runtime.metrics.fidelity import Fidelity, compare
from bokeh_runtime.metrics.psnr import psnr_text
from bokeh_runtime.metrics.registry import Metric, conversion_metrics
from bokeh_runtime.metrics.ssim import WINDOW_PX
from bokeh_runtime.tflite.reference_pack import Reference
from bokeh_runtime.tflite.value_range import UNIT_RANGES, ImageRanges

_MIN_CONTRAST = 1 / 255
_MIN_PHOTO_CONTRAST = 16
"""Difference of the largest and the smallest value of a photo's channel, of 255, from which its
output has to have contrast, too. A black frame is black with any network."""


@dataclass(frozen=True)
class FidelityLimits:
    """Limits on the fidelity to the full model.

    Limits that a metric sets itself (`bokeh_runtime.metrics.registry.Metric.limit`) apply as well.

    Attributes:
        psnr_db: Lower limit in dB on the mean PSNR over the photos whose outputs differ, and on the
            PSNR of the mean squared error pooled over all photos; None for no limit.
        psnr_db_worst: Lower limit in dB on the PSNR of the worst photo; None for no limit.
        worst: Limits on other metrics by their keys, such as {"grain": 0.5}: on the value of the
            worst photo, in the metric's own scale. A metric that is defined for no photo misses
            its limit.
    """

    psnr_db: float | None = None
    psnr_db_worst: float | None = None
    worst: Mapping[str, float] = field(default_factory=dict)

    def shortfall(self, fidelity: Fidelity) -> str | None:
        """Returns which limits are missed and by what value; None if all are met."""
        worst = min(fidelity.images, key=lambda image: image.psnr_db)
        missed = [
            f"{name} {psnr_text(decibels)} is below {limit:g} dB"
            for name, decibels, limit in (
                ("mean PSNR", fidelity.psnr_db_mean, self.psnr_db),
                ("pooled PSNR", fidelity.psnr_db_pooled, self.psnr_db),
                (f"PSNR of the worst photo ({worst.name})", worst.psnr_db, self.psnr_db_worst),
            )
            # Not `decibels < limit`, which NaN would pass.
            if limit is not None and not decibels >= limit
        ]
        return "; ".join([*missed, *self._missed_by_metrics(fidelity)]) or None

    def _missed_by_metrics(self, fidelity: Fidelity) -> Iterator[str]:
        for metric in conversion_metrics():
            asked = self.worst.get(metric.key)
            if asked is not None and fidelity.worst(metric) is None:
                yield f"{metric.label} was not measured: every photo has {metric.undefined_for}"
                continue
            for limit in (metric.limit, asked):
                missed = None if limit is None else _missed_limit(fidelity, metric, limit)
                if missed is not None:
                    yield missed


def _missed_limit(fidelity: Fidelity, metric: Metric, limit: float) -> str | None:
    """Returns by what value the worst photo misses a limit; None if it meets it, or has none."""
    value = fidelity.worst(metric)
    if value is None or metric.meets(limit, value):
        return None
    names = {image.values[metric.key]: image.name for image in fidelity.images}
    return (
        f"{metric.label} {metric.text(value)} of the worst photo ({names[value]}) is "
        f"{'below' if metric.higher_is_better else 'above'} {metric.text(limit)}"
    )


class InvalidOutputError(Exception):
    """The output of a converted file has NaN or infinity, or is constant."""


def read_input_pixels(sample: Sample, sized: SizedModel) -> npt.NDArray[np.uint8]:
    """Reads a photo with the size, channels and resampling of a model; see `read_sample`."""
    model = sized.model
    return read_sample(sample, sized.height, sized.width, model.channels, model.resampling)


def compute_reference(
    sized: SizedModel, samples: Sequence[Sample], on_photo: Callable[[], None]
) -> Reference:
    """Runs the full model on photos.

    Args:
        sized: The full model.
        samples: The photos.
        on_photo: Called after each photo.

    Returns:
        Network inputs, and outputs clipped to [0, 1].

    Raises:
        InputError: If a photo cannot be read, an output has NaN or infinity, is constant or too
            small for SSIM, or all photos are nearly uniform.
    """
    inputs, outputs = [], []
    for sample in samples:
        pixels = read_input_pixels(sample, sized)
        output = sized.run(to_network_input(pixels))
        height, width = output.shape[:2]
        if min(height, width) < WINDOW_PX:
            raise InputError(
                f"{sized.model.path}: its output has {width} x {height} px, too few to measure its "
                f"quality (SSIM needs {WINDOW_PX})",
                remedy=("give a larger ", Argument("size")),
            )
        defect = _output_defect(output, pixels)
        if defect:
            raise InputError(
                f"{sized.model.path}: the output for {sample.name} {defect}; "
                "use a fully trained model"
            )
        inputs.append(pixels)
        outputs.append(np.clip(output, 0, 1))
        on_photo()
    if not any(map(has_contrast, inputs)):
        raise InputError(
            f"{samples[0].photo.parent}: its verification photos are all nearly uniform, which "
            "shows nothing of a network; add photos"
        )
    return Reference(_names(samples), inputs, outputs, sized.model.sha256)


def _names(samples: Sequence[Sample]) -> list[str]:
    """Returns the photos' names; with their folders if two are the same."""
    names = [sample.name for sample in samples]
    if len(set(names)) == len(names):
        return names
    return [f"{sample.photo.parent.name}/{sample.name}" for sample in samples]


def verify(
    content: bytes,
    reference: Reference,
    ranges: ImageRanges = UNIT_RANGES,
    *,
    threads: int,
    on_photo: Callable[[], None],
) -> tuple[Fidelity, list[FloatImage]]:
    """Runs a .tflite file on the inputs of a reference and compares the outputs.

    Args:
        content: The .tflite file.
        reference: Inputs and expected outputs.
        ranges: Value ranges of the file's input and output.
        threads: CPU threads.
        on_photo: Called after each photo.

    Returns:
        The fidelity, and the outputs, float [height, width, 3] clipped to [0, 1].

    Raises:
        InvalidOutputError: If an output has NaN or infinity, or is constant.
    """
    model = TfliteModel(content, threads=threads, ranges=ranges)
    return verify_run(model.run, reference, on_photo=on_photo)


def verify_run(
    run: Callable[[FloatImage], FloatImage], reference: Reference, *, on_photo: Callable[[], None]
) -> tuple[Fidelity, list[FloatImage]]:
    """Compares the outputs of a network with those of a reference.

    Args:
        run: Runs the network on an image, float [height, width, channels] in [0, 1].
        reference: Inputs and expected outputs.
        on_photo: Called after each photo.

    Returns:
        The fidelity, and the outputs, float [height, width, 3] clipped to [0, 1].

    Raises:
        InvalidOutputError: If an output has NaN or infinity, or is constant.
    """
    outputs = []
    for name, pixels in zip(reference.names, reference.inputs, strict=True):
        output = run(to_network_input(pixels))
        defect = _output_defect(output, pixels)
        if defect:
            raise InvalidOutputError(f"the output for {name} {defect}")
        outputs.append(np.clip(output, 0, 1))
        on_photo()
    return compare_outputs(outputs, reference), outputs


def compare_outputs(outputs: Sequence[FloatImage], reference: Reference) -> Fidelity:
    """Compares outputs with those of a reference, photo by photo.

    Args:
        outputs: float [height, width, 3] in [0, 1].
        reference: The expected outputs.
    """
    metrics = conversion_metrics()
    compared = zip(reference.names, outputs, reference.outputs, strict=True)
    return Fidelity(
        [
            compare(name, output, expected, border_px=0, metrics=metrics)
            for name, output, expected in compared
        ]
    )


def has_contrast(pixels: npt.NDArray[np.uint8]) -> bool:
    """Whether a photo, uint8 [height, width, channels], is not nearly uniform."""
    return _contrast(pixels[..., :3]) >= _MIN_PHOTO_CONTRAST


def _contrast(image: npt.NDArray[Any]) -> float:
    return float(np.ptp(image, axis=(0, 1)).max())


def _output_defect(output: FloatImage, pixels: npt.NDArray[np.uint8]) -> str | None:
    if not np.isfinite(output).all():
        return "has NaN or infinity"
    if _contrast(np.clip(output, 0, 1)) < _MIN_CONTRAST and has_contrast(pixels):
        return "is constant"
    return None
