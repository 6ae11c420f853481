"""Rewrites of a float32 graph that keep its function and make it cheaper or safer to run.

They depend on what the graph computes, not on where it comes from. No other code edits a float32
graph. Each pass is one module with one public function that rewrites; `--no-pass NAME` turns it
off, `--pass NAME` turns on one that is off by default. Which there are is data here, so that
options can be checked before a graph library is imported; `bokeh_convert.passes.apply` applies
them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pass:
    """A rewrite of a graph.

    Attributes:
        name: The name for `--pass` and `--no-pass`.
        changes: What it counts, in the plural.
        module: Its module in this package.
        function: The module's function, which edits a `Graph` in place and returns the number of
            changes.
    """

    name: str
    changes: str
    module: str
    function: str


FOR_EVERY_SCHEME = (
    Pass(
        "instance-norm",
        "instance norms written in one form",
        "instance_norm",
        "rewrite_instance_norm",
    ),
)
OPTIONAL = (
    Pass(
        "space-to-depth",
        "SPACE_TO_DEPTH written as convolutions",
        "space_to_depth",
        "write_space_to_depth_as_convolution",
    ),
)
"""Applied on request, before the others; calibrated schemes start from their graph, too."""
EQUALIZE_CHANNELS = "equalize-channels"
"""Applied by `bokeh_convert.stages.calibrate`, which knows the ranges of the activations."""
MERGE_CONVOLUTIONS = "merge-convolutions"
"""Applied by `bokeh_convert.quantize.mixed_precision_files`, which knows the int8 convolutions."""
GROUP_PIXELS = "group-pixels"
"""Applied there, and to float16 files that allow float16 arithmetic."""
OPTIONAL_PASS_NAMES = tuple(each.name for each in OPTIONAL)
"""Graph rewrites that can be asked for."""
PASS_NAMES = (
    *(each.name for each in FOR_EVERY_SCHEME),
    EQUALIZE_CHANNELS,
    MERGE_CONVOLUTIONS,
    GROUP_PIXELS,
    *OPTIONAL_PASS_NAMES,
)
"""Graph rewrites that can be skipped."""
