"""Rewrites of a float32 flatbuffer: the same function, cheaper or safer to compute.

They go by what the graph computes, whatever made it. Nothing else edits a float32 graph. Each is
one file with one public function, and can be left out by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from bokeh_convert.graph.editor import Graph
from bokeh_convert.passes.instance_norm import rewrite_instance_norm


@dataclass(frozen=True)
class Pass:
    """A rewrite.

    Attributes:
        name: As `--no-pass` takes it.
        changes: What is counted, in the plural.
        rewrite: Changes a graph in place and returns how many of them it changed.
    """

    name: str
    changes: str
    rewrite: Callable[[Graph], int]


FOR_EVERY_SCHEME = (
    Pass("instance-norm", "instance norms written in one form", rewrite_instance_norm),
)
MERGE_CONVOLUTIONS = "merge-convolutions"
"""Done within `bokeh_convert.quantize.mixed_precision_search`, which knows the convolutions that
are int8.
"""


@dataclass(frozen=True)
class PassResult:
    """What a pass did to a graph.

    Attributes:
        name: Of the pass.
        changes: What is counted.
        count: How many there were.
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
        passes: Which ones, in their order.
        skip: Names of passes to leave out.

    Returns:
        The new file, and what each pass did.
    """
    graph = Graph(content)
    results = [
        PassResult(each.name, each.changes, each.rewrite(graph))
        for each in passes
        if each.name not in skip
    ]
    return graph.to_bytes(), results
