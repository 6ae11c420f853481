"""Applies passes to a float32 .tflite file."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import cast

from bokeh_convert.graph.editor import Graph
from bokeh_convert.passes import Pass
from bokeh_convert.passes.fake_quantization import Range


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


@dataclass(frozen=True)
class RewrittenFile:
    """A float32 .tflite file after passes.

    Attributes:
        content: The bytes of the file.
        results: What each pass did.
        trained_ranges: (minimum, maximum) of activations, by name.
    """

    content: bytes
    results: Sequence[PassResult]
    trained_ranges: Mapping[str, Range] = field(default_factory=dict)


def apply_passes(
    content: bytes,
    passes: Collection[Pass],
    skip: Collection[str] = (),
    trained_ranges: Mapping[str, Range] | None = None,
) -> RewrittenFile:
    """Rewrites a float32 .tflite file.

    Args:
        content: The file.
        passes: The passes, in the order in which they are applied.
        skip: Names of passes to leave out.
        trained_ranges: (minimum, maximum) of activations that were rounded in training, by name.
    """
    graph = Graph(content)
    graph.trained_ranges.update(trained_ranges or {})
    results = [
        PassResult(each.name, each.changes, _rewrite(each)(graph))
        for each in passes
        if each.name not in skip
    ]
    return RewrittenFile(graph.to_bytes(), results, graph.trained_ranges)


def _rewrite(each: Pass) -> Callable[[Graph], int]:
    module = import_module(f"bokeh_convert.passes.{each.module}")
    return cast(Callable[[Graph], int], getattr(module, each.function))
