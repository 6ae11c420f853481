"""Runs a file on the verification photos and holds it against the full model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bokeh_convert.graph.op_inventory import multiply_accumulates
from bokeh_convert.options import ConvertOptions
from bokeh_convert.progress import Steps
from bokeh_convert.quantize.int16_emulation import MOST_MULTIPLY_ACCUMULATES
from bokeh_convert.stages.quantize import Quantized
from bokeh_convert.verify.verification import BrokenPictureError, verify
from bokeh_runtime.imaging.photo import FloatImage
from bokeh_runtime.metrics.fidelity import Fidelity
from bokeh_runtime.tflite.reference_pack import Reference


@dataclass(frozen=True)
class Verified:
    """A file, and what was measured of its output.

    Attributes:
        quantized: The file.
        computed_by: What computed the output: "the file", or a rehearsal of it.
        fidelity: Against the full model; None if the output is broken.
        pictures: The output, float [height, width, 3] in [0, 1] for each photo; none if broken.
        broken: What is wrong with a broken output.
        timings: Seconds of each stage until here; the first ones serve all files.
    """

    quantized: Quantized
    computed_by: str
    fidelity: Fidelity | None
    pictures: Sequence[FloatImage]
    broken: str | None
    timings: Mapping[str, float]


def verify_file(
    quantized: Quantized, reference: Reference, options: ConvertOptions, steps: Steps
) -> Verified:
    """Measures a file; one that runs very slowly by its rehearsal."""
    scheme, content = quantized.scheme, quantized.content
    steps.next(f"verifying {scheme.name}")
    computed_by = "the file"
    if scheme.rehearse and multiply_accumulates(content) > MOST_MULTIPLY_ACCUMULATES:
        computed_by, content = "its rehearsal in float", scheme.rehearse(content)
    try:
        with steps.timed("verify_s"):
            fidelity, pictures = verify(
                content, reference, threads=options.threads, on_photo=steps.next
            )
    except BrokenPictureError as error:
        return Verified(quantized, computed_by, None, (), str(error), dict(steps.timings))
    return Verified(quantized, computed_by, fidelity, pictures, None, dict(steps.timings))
