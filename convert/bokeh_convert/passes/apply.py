"""Applies passes to a float32 .tflite file."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib import import_module
from typing import cast

from bokeh_convert.graph.editor import Graph
from bokeh_convert.passes import Pass


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
        PassResult(each.name, each.changes, _rewrite(each)(graph))
        for each in passes
        if each.name not in skip
    ]
    return graph.to_bytes(), results


def _rewrite(each: Pass) -> Callable[[Graph], int]:
    module = import_module(f"bokeh_convert.passes.{each.module}")
    return cast(Callable[[Graph], int], getattr(module, each.function))
