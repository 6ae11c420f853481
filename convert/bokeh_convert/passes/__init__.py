"""Rewrites of a float32 graph that keep its function and make it cheaper or safer to run.

They depend on what the graph computes, not on where it comes from. No other code edits a float32
graph. Each pass is one module with one public function; `--no-pass NAME` turns it off.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from bokeh_convert.graph.editor import Graph
from bokeh_convert.passes.instance_norm import rewrite_instance_norm


@dataclass(frozen=True)
class Pass:
    """A rewrite of a graph.

    Attributes:
        name: The name for `--no-pass`.
        changes: What it counts, in the plural.
        rewrite: Edits a graph in place and returns the number of changes.
    """

    name: str
    changes: str
    rewrite: Callable[[Graph], int]


FOR_EVERY_SCHEME = (
    Pass("instance-norm", "instance norms written in one form", rewrite_instance_norm),
)
MERGE_CONVOLUTIONS = "merge-convolutions"
"""Applied by `bokeh_convert.quantize.mixed_precision_search`, which knows the int8 convolutions."""


@dataclass(frozen=True)
class PassResult:
    """What a pass did to a graph.

    Attributes:
        name: The name of the pass.
        changes: What it counts, in the plural.
        count: The number of changes.
    """

    name: str
    changes: str
    count: int


def apply_passes(
    content: bytes, passes: Collection[Pass], skip: Collection[str] = ()
) -> tuple[bytes, list[PassResult]]:
    """Rewrites a float32 .tflite file.

    Args:
        content: The file.
        passes: The passes, in the order in which they are applied.
        skip: Names of passes to leave out.

    Returns:
        The rewritten file, and the results of the passes that were applied.
    """
    graph = Graph(content)
    results = [
        PassResult(each.name, each.changes, each.rewrite(graph))
        for each in passes
        if each.name not in skip
    ]
    return graph.to_bytes(), results
