"""Rewrites the float32 graph, for all schemes that need no calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bokeh_convert.options import ConvertOptions
from bokeh_convert.passes import FOR_EVERY_SCHEME
from bokeh_convert.passes.apply import PassResult, apply_passes
from bokeh_convert.stages.lower import Lowered


@dataclass(frozen=True)
class Rewritten:
    """The float32 .tflite file after the graph rewrites.

    Attributes:
        lowered: The file before the rewrites, from which calibrated schemes start.
        content: The bytes of the file.
        passes: What each rewrite changed.
    """

    lowered: Lowered
    content: bytes
    passes: Sequence[PassResult]


def rewrite_graph(lowered: Lowered, options: ConvertOptions) -> Rewritten:
    """Applies all rewrites except those in `options.skip_passes`."""
    content, passes = apply_passes(lowered.content, FOR_EVERY_SCHEME, options.skip_passes)
    return Rewritten(lowered, content, passes)
