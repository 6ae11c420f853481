"""Runs a file on the verification photos and compares its output with the full model's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bokeh_convert.graph.op_inventory import multiply_accumulates
from bokeh_convert.options import ConvertOptions
from bokeh_convert.progress import Steps
from bokeh_convert.quantize.int16_emulation import EMULATE_ABOVE_MACS, emulate_int16
from bokeh_convert.stages.quantize import Quantized
from bokeh_convert.stages.read import Source
from bokeh_convert.verify.verification import InvalidOutputError, compare_outputs, verify
from bokeh_runtime.imaging.photo import FloatImage
from bokeh_runtime.metrics.fidelity import Fidelity


@dataclass(frozen=True)
class Verified:
    """A file and its fidelity to the full model.

    Attributes:
        quantized: The file.
        emulated: Whether the output was computed by an emulation of the file.
        fidelity: The comparison with the full model, or with its teacher if there is one; None if
            the output is invalid.
        own_fidelity: The comparison with the full model if it has a teacher; else None.
        outputs: Network output per photo, float [height, width, 3] in [0, 1]; empty if invalid.
        invalid_output: What is wrong with the output; None if it is valid.
        timings: Seconds per stage so far, by name.
    """

    quantized: Quantized
    emulated: bool
    fidelity: Fidelity | None
    outputs: Sequence[FloatImage]
    invalid_output: str | None
    timings: Mapping[str, float]
    own_fidelity: Fidelity | None = None


def verify_file(
    quantized: Quantized, source: Source, options: ConvertOptions, steps: Steps
) -> Verified:
    """Measures the fidelity of a file, by emulation if the file itself is too slow here."""
    scheme, content = quantized.scheme, quantized.content
    steps.next(f"verifying {scheme.name}")
    emulated = False
    if scheme.int16_emulation and multiply_accumulates(content) > EMULATE_ABOVE_MACS:
        emulated, content = True, emulate_int16(content)
    try:
        with steps.timed("verify_s"):
            fidelity, outputs = verify(
                content,
                source.reference,
                source.sized.ranges,
                threads=options.threads,
                on_photo=steps.next,
            )
    except InvalidOutputError as error:
        return Verified(quantized, emulated, None, (), str(error), dict(steps.timings))
    own = None
    if source.own_reference is not None:
        own = compare_outputs(outputs, source.own_reference)
    return Verified(quantized, emulated, fidelity, outputs, None, dict(steps.timings), own)
