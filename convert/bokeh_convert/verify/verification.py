"""Holds a .tflite file against the full model, picture by picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bokeh_convert.data.calibration_data import Sample, read_sample, to_input
from bokeh_convert.sources.float_model import SizedModel
from bokeh_runtime.backends.interpreter import TfliteModel
from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.photo import FloatImage
from bokeh_runtime.metrics.fidelity import Fidelity, compare
from bokeh_runtime.metrics.psnr import psnr_text
from bokeh_runtime.tflite.reference_pack import Reference


@dataclass(frozen=True)
class FidelityLimits:
    """What PSNR a file must reach; None asks for nothing.

    Attributes:
        psnr_db: Of the mean over the photos whose pictures differ, and of the pooled error over all
            photos: both must reach it.
        psnr_db_worst: Of the worst photo.
    """

    psnr_db: float | None = None
    psnr_db_worst: float | None = None

    def shortfall(self, fidelity: Fidelity) -> str | None:
        """Returns which figures are under their limits; None if none is."""
        worst = min(fidelity.images, key=lambda image: image.psnr_db)
        found = [
            f"{name} {psnr_text(decibels)} is under {limit:g} dB"
            for name, decibels, limit in (
                ("mean PSNR", fidelity.psnr_db_mean, self.psnr_db),
                ("PSNR of the pooled error", fidelity.psnr_db_pooled, self.psnr_db),
                (f"PSNR of the worst photo ({worst.name})", worst.psnr_db, self.psnr_db_worst),
            )
            # So written that what is no number does not pass.
            if limit is not None and not decibels >= limit
        ]
        return "; ".join(found) or None


class BrokenPictureError(Exception):
    """A converted file draws NaN, infinity, or a constant picture where the full model does not."""


def sized_sample(sample: Sample, sized: SizedModel) -> npt.NDArray[np.uint8]:
    """Reads a sample as the model was trained to see it; see `read_sample`."""
    model = sized.model
    return read_sample(sample, sized.height, sized.width, model.channels, model.resampling)


def draw_reference(
    sized: SizedModel, samples: Sequence[Sample], on_photo: Callable[[], None]
) -> Reference:
    """Runs the full model on the verification photos.

    Raises:
        InputError: If a photo cannot be read, or the model draws NaN or a constant picture.
    """
    inputs, outputs = [], []
    for sample in samples:
        pixels = sized_sample(sample, sized)
        output = sized.run(to_input(pixels))
        fault = _fault(output)
        if fault:
            raise InputError(
                f"{sized.model.path}: draws {fault} for {sample.name}; give a trained model"
            )
        inputs.append(pixels)
        outputs.append(np.clip(output, 0, 1))
        on_photo()
    return Reference([sample.name for sample in samples], inputs, outputs, sized.model.sha256)


def verify(
    content: bytes, reference: Reference, *, threads: int, on_photo: Callable[[], None]
) -> tuple[Fidelity, list[FloatImage]]:
    """Runs a .tflite file on the reference's inputs and compares.

    Returns:
        The fidelity, and the pictures, clipped to [0, 1].

    Raises:
        BrokenPictureError: If the file draws NaN, infinity or a constant picture.
    """
    model = TfliteModel(content, threads=threads)
    images, pictures = [], []
    for name, pixels, expected in zip(
        reference.names, reference.inputs, reference.outputs, strict=True
    ):
        output = model.run(to_input(pixels))
        fault = _fault(output)
        if fault:
            raise BrokenPictureError(f"draws {fault} for {name}")
        picture = np.clip(output, 0, 1)
        images.append(compare(name, picture, expected, border_px=0))
        pictures.append(picture)
        on_photo()
    return Fidelity(images), pictures


def _fault(output: FloatImage) -> str | None:
    if not np.isfinite(output).all():
        return "NaN or infinity"
    if float(np.ptp(np.clip(output, 0, 1))) < 1 / 255:
        return "a constant picture"
    return None
