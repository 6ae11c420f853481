"""Rewrites the float32 graph: for schemes that need no calibration, and on request for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from bokeh_convert.graph.editor import Graph
from bokeh_convert.options import ConvertOptions
from bokeh_convert.passes import FOR_EVERY_SCHEME, OPTIONAL
from bokeh_convert.passes.apply import PassResult, apply_passes
from bokeh_convert.passes.fake_quantization import Range
from bokeh_convert.passes.space_to_depth import rearranged_inputs
from bokeh_convert.stages.lower import Lowered


@dataclass(frozen=True)
class Rewritten:
    """The float32 .tflite file after the graph rewrites.

    Attributes:
        lowered: The file with the rewrites on request alone, from which calibrated schemes start.
        content: The bytes of the file with all rewrites.
        passes: What each rewrite changed that calibrated schemes do without.
        requested_passes: What each rewrite on request changed.
        trained_ranges: (minimum, maximum) of the activations of `content` that were rounded in
            training, by name.
        input_copies: Names of activations that a rewrite on request computes and that hold the
            values of the network's input.
        without_clipping: The same of `Lowered.without_clipping`.
    """

    lowered: Lowered
    content: bytes
    passes: Sequence[PassResult]
    requested_passes: Sequence[PassResult]
    trained_ranges: Mapping[str, Range] = field(default_factory=dict)
    input_copies: Sequence[str] = ()
    without_clipping: Rewritten | None = None

    @property
    def for_int8(self) -> Rewritten:
        """The files for int8, which clips by itself where training has chosen the ranges."""
        return self.without_clipping or self


def rewrite_graph(lowered: Lowered, options: ConvertOptions) -> Rewritten:
    """Applies the rewrites on request, then all others but those in `options.left_out_passes`."""
    clipless = lowered.without_clipping
    requested = [each for each in OPTIONAL if each.name in options.requested_passes]
    requested_passes: Sequence[PassResult] = []
    input_copies: list[str] = []
    if requested:
        input_copies = rearranged_inputs(Graph(lowered.content))
        done = apply_passes(lowered.content, requested, trained_ranges=lowered.trained_ranges)
        requested_passes = done.results
        lowered = replace(lowered, content=done.content, trained_ranges=done.trained_ranges)
    done = apply_passes(
        lowered.content, FOR_EVERY_SCHEME, options.left_out_passes, lowered.trained_ranges
    )
    return Rewritten(
        lowered,
        done.content,
        done.results,
        requested_passes,
        done.trained_ranges,
        input_copies,
        None if clipless is None else rewrite_graph(clipless, options),
    )
