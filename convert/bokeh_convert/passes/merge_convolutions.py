"""Merges convolutions that read the same tensor, where a processor computes 16 channels at once.

PyNET's level 1 gives 8 channels to each of its parallel branches at small widths, and the int8
kernels of phones compute 16 at a time: half of that work is thrown away. Two branches in one
convolution fill it; the smaller kernel is padded with zeros, which changes no sum.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from bokeh_convert.graph.cost_model import Precision, convolution_cost, elementwise_cost
from bokeh_convert.graph.editor import Graph, Kind, Op


@dataclass(frozen=True)
class _Convolution:
    operator: Any
    kernel: int
    filters: int
    depth: int
    pixels: int


def merge_convolutions(graph: Graph, precision: Precision, leave: Collection[str] = ()) -> int:
    """Merges in place where that is cheaper, and returns how many convolutions are gone.

    Args:
        graph: A float32 graph; of its convolutions, those of stride 1, SAME padding and odd
            kernels are looked at.
        precision: In which the convolutions will be computed.
        leave: Convolutions that are not touched, by the names of their results.
    """
    made_from: dict[int, list[_Convolution]] = {}
    for operator in graph.operators:
        convolution = _mergeable(graph, operator)
        if convolution is not None and graph.name(int(operator.outputs[0])) not in leave:
            made_from.setdefault(int(operator.inputs[0]), []).append(convolution)
    replaced: dict[int, list[Any]] = {}
    gone: set[int] = set()
    for convolutions in made_from.values():
        for group in _cheapest_groups(sorted(convolutions, key=lambda c: c.kernel), precision):
            if len(group) > 1:
                first, *others = sorted((c.operator for c in group), key=graph.operators.index)
                replaced[id(first)] = _merged(graph, group)
                gone |= {id(operator) for operator in others}
    operators: list[Any] = []
    for operator in graph.operators:
        if id(operator) not in gone:
            operators += replaced.get(id(operator), [operator])
    graph.operators = operators
    graph.drop_unused()
    return len(gone)


def _mergeable(graph: Graph, operator: Any) -> _Convolution | None:
    if graph.kind(operator) != Op.CONV_2D or graph.fused(operator):
        return None
    options = operator.builtinOptions
    plain = (options.strideH, options.strideW, options.dilationHFactor, options.dilationWFactor)
    if plain != (1, 1, 1, 1) or options.padding != schema.Padding.SAME:
        return None
    if len(operator.inputs) != 3 or not all(graph.is_constant(int(i)) for i in operator.inputs[1:]):
        return None
    filters, rows, columns, depth = (int(n) for n in graph.tensors[operator.inputs[1]].shape)
    if rows != columns or rows % 2 == 0:
        return None
    _, height, width, _ = (int(n) for n in graph.tensors[operator.outputs[0]].shape)
    return _Convolution(operator, rows, filters, depth, height * width)


def _cheapest_groups(
    convolutions: Sequence[_Convolution], precision: Precision
) -> list[list[_Convolution]]:
    """Cuts a list, sorted by kernel, where the sum of costs is least."""
    best: list[tuple[float, list[list[_Convolution]]]] = [(0.0, [])]
    for end in range(1, len(convolutions) + 1):
        choices = []
        for begin in range(end):
            group = list(convolutions[begin:end])
            if len({c.filters for c in group}) == 1:  # SPLIT cuts evenly
                cost, groups = best[begin]
                choices.append((cost + _group_cost(group, precision), [*groups, group]))
        best.append(min(choices, key=lambda choice: choice[0]))
    return best[-1][1]


def _group_cost(group: Sequence[_Convolution], precision: Precision) -> float:
    last, filters = group[-1], sum(c.filters for c in group)
    cost = convolution_cost(precision, last.pixels, last.kernel, last.depth, filters)
    return cost + (elementwise_cost(last.pixels * filters) if len(group) > 1 else 0)


def _merged(graph: Graph, group: Sequence[_Convolution]) -> list[Any]:
    """Returns one convolution and the operator that cuts its result apart."""
    largest = group[-1]
    padded = []
    for convolution in group:
        margin = (largest.kernel - convolution.kernel) // 2
        weights = graph.constant(int(convolution.operator.inputs[1]))
        padded.append(np.pad(weights, ((0, 0), (margin, margin), (margin, margin), (0, 0))))
    targets = [int(convolution.operator.outputs[0]) for convolution in group]
    name = graph.name(targets[-1])
    filters = graph.add_constant(f"{name}/merged_filters", np.concatenate(padded))
    biases = [graph.constant(int(convolution.operator.inputs[2])) for convolution in group]
    bias = graph.add_constant(f"{name}/merged_bias", np.concatenate(biases))
    _, height, width, _ = (int(n) for n in graph.tensors[targets[0]].shape)
    shape = (1, height, width, sum(convolution.filters for convolution in group))
    joined = graph.add_tensor(f"{name}/merged", Kind.FLOAT32, shape)
    source = int(largest.operator.inputs[0])
    convolution = graph.operator(
        Op.CONV_2D, [source, filters, bias], [joined], largest.operator.builtinOptions
    )
    options = schema.SplitOptionsT()
    options.numSplits = len(group)
    return [convolution, graph.operator(Op.SPLIT, [graph.axes(3), joined], targets, options)]
