"""The fidelity of a model's outputs to reference outputs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bokeh_bench.measure.references import ReferenceSample
from bokeh_bench.measure.rows import SampleImages
from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.photo import FloatImage
from bokeh_runtime.metrics.fidelity import (
    PROTOCOLS,
    Fidelity,
    ImageFidelity,
    compare,
    protocols_for,
)
from bokeh_runtime.metrics.registry import all_metrics

BROKEN_DB = 10.0
"""Below this PSNR to the full model, in dB, the output is noted as a different image."""


def measure_fidelity(
    vs: str, outputs: Iterator[tuple[ReferenceSample, FloatImage]]
) -> tuple[list[Fidelity], list[SampleImages], list[str]]:
    """Compares outputs with their references, in every protocol that fits the image size.

    Args:
        vs: What the references are: "full_model" or "ground_truth".
        outputs: Each sample with the model's output, [height, width, 3], not clipped.

    Returns:
        The fidelity in each protocol, the images if `vs` is "full_model", and notes.

    Raises:
        InputError: If an output has a different shape from its reference, or holds NaN or
            infinity. Such an output has no meaningful PSNR.
    """
    found: dict[str, list[ImageFidelity]] = {}
    images, notes = [], []
    for sample, output in outputs:
        reference = sample.reference_output
        if output.shape != reference.shape:
            raise InputError(
                f"{sample.name}: the output has shape {list(output.shape)}, the reference "
                f"{list(reference.shape)}; give the reference pack of the model's own conversion"
            )
        if not np.isfinite(output).all():
            raise InputError(
                f"the output for {sample.name} contains NaN or infinity; convert the model again, "
                "or try another --delegate"
            )
        clipped = np.clip(output, 0, 1)
        for protocol in protocols_for(*reference.shape[:2]):
            border = PROTOCOLS[protocol]
            image = compare(
                sample.name, clipped, reference, border_px=border, metrics=all_metrics()
            )
            found.setdefault(protocol, []).append(image)
        if vs == "full_model":
            photo = sample.network_input[..., :3]
            images.append(SampleImages(sample.name, photo, reference, clipped))
    worst = min((image.psnr_db for image in found.get("full", [])), default=np.inf)
    if vs == "full_model" and worst < BROKEN_DB:
        notes.append(f"the output does not match the full model's (worst PSNR {worst:.1f} dB)")
    fidelity = [Fidelity(each, vs, protocol) for protocol, each in found.items()]
    return fidelity, images, notes
