"""Rewrites the float32 graph, for every scheme that is not calibrated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bokeh_convert.options import ConvertOptions
from bokeh_convert.passes import FOR_EVERY_SCHEME, PassResult, apply_passes
from bokeh_convert.stages.lower import Lowered


@dataclass(frozen=True)
class Rewritten:
    """The float32 .tflite file after the rewrites.

    Attributes:
        lowered: The file before them, which calibrated schemes take.
        content: The bytes of the file.
        passes: What each rewrite did.
    """

    lowered: Lowered
    content: bytes
    passes: Sequence[PassResult]


def rewrite_graph(lowered: Lowered, options: ConvertOptions) -> Rewritten:
    """Applies the rewrites that the options do not leave out."""
    content, passes = apply_passes(lowered.content, FOR_EVERY_SCHEME, options.skip_passes)
    return Rewritten(lowered, content, passes)
