"""Merges parallel convolutions of the same input, to fill the channel tiles of the CPU kernels.

At small widths each parallel branch of PyNET's level 1 has 8 output channels, and the int8 kernels
of phones compute 16 at once: half of the work is wasted. Two branches in one convolution fill the
tile; the smaller kernel is padded with zeros, which does not change its output.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from bokeh_convert.graph.cost_model import Precision, convolution_cost, elementwise_cost
from bokeh_convert.graph.editor import Graph
from bokeh_convert.graph.schema_views import Op, Operator, TensorType, conv_2d_options


@dataclass(frozen=True)
class _Convolution:
    operator: Operator
    kernel: int
    filters: int
    depth: int
    pixels: int


def merge_convolutions(graph: Graph, precision: Precision, exclude: Collection[str] = ()) -> int:
    """Merges convolutions in place where that costs less; returns how many were removed.

    Args:
        graph: A float32 graph. Only convolutions with stride 1, SAME padding, a bias, no groups, no
            fused activation and a square kernel of odd size are merged.
        precision: How the convolutions will be computed.
        exclude: Convolutions that are left as they are, by the names of their output tensors.
    """
    by_input: dict[int, list[_Convolution]] = {}
    for operator in graph.operators:
        convolution = _mergeable(graph, operator)
        if convolution is not None and graph.name(operator.outputs[0]) not in exclude:
            by_input.setdefault(operator.inputs[0], []).append(convolution)
    replaced: dict[int, list[Operator]] = {}
    removed: set[int] = set()
    for convolutions in by_input.values():
        for group in _cheapest_groups(sorted(convolutions, key=lambda c: c.kernel), precision):
            if len(group) > 1:
                first, *others = sorted((c.operator for c in group), key=graph.operators.index)
                replaced[id(first)] = _merged(graph, group)
                removed |= {id(operator) for operator in others}
    operators: list[Operator] = []
    for operator in graph.operators:
        if id(operator) not in removed:
            operators += replaced.get(id(operator), [operator])
    graph.operators = operators
    graph.remove_unused()
    return len(removed)


def _mergeable(graph: Graph, operator: Operator) -> _Convolution | None:
    if graph.opcode(operator) != Op.CONV_2D or graph.has_fused_activation(operator):
        return None
    options = conv_2d_options(operator)
    if (options.strideH, options.strideW) != (1, 1) or options.padding != schema.Padding.SAME:
        return None
    if (options.dilationHFactor, options.dilationWFactor) != (1, 1):
        return None
    if len(operator.inputs) != 3 or not all(graph.is_constant(i) for i in operator.inputs[1:]):
        return None
    filters, rows, columns, depth = graph.tensors[operator.inputs[1]].shape
    # In a grouped convolution, which filters see which channels depends on their number.
    if rows != columns or rows % 2 == 0 or graph.is_grouped(operator):
        return None
    _, height, width, _ = graph.tensors[operator.outputs[0]].shape
    return _Convolution(operator, rows, filters, depth, height * width)


def _cheapest_groups(
    convolutions: Sequence[_Convolution], precision: Precision
) -> list[list[_Convolution]]:
    """Splits a list, sorted by kernel size, into the groups with the lowest total cost."""
    best: list[tuple[float, list[list[_Convolution]]]] = [(0.0, [])]
    for end in range(1, len(convolutions) + 1):
        choices = []
        for begin in range(end):
            group = list(convolutions[begin:end])
            if len({c.filters for c in group}) == 1:  # SPLIT makes equal parts
                cost, groups = best[begin]
                choices.append((cost + _group_cost(group, precision), [*groups, group]))
        best.append(min(choices, key=lambda choice: choice[0]))
    return best[-1][1]


def _group_cost(group: Sequence[_Convolution], precision: Precision) -> float:
    last, filters = group[-1], sum(c.filters for c in group)
    cost = convolution_cost(precision, last.pixels, last.kernel, last.depth, filters)
    return cost + (elementwise_cost(last.pixels * filters) if len(group) > 1 else 0)


def _merged(graph: Graph, group: Sequence[_Convolution]) -> list[Operator]:
    """Returns the merged convolution and the SPLIT of its output."""
    largest = group[-1]
    padded = []
    for convolution in group:
        margin = (largest.kernel - convolution.kernel) // 2
        weights = graph.constant(convolution.operator.inputs[1])
        padded.append(np.pad(weights, ((0, 0), (margin, margin), (margin, margin), (0, 0))))
    targets = [convolution.operator.outputs[0] for convolution in group]
    name = graph.name(targets[-1])
    filters = graph.add_constant(f"{name}/merged_filters", np.concatenate(padded))
    biases = [graph.constant(convolution.operator.inputs[2]) for convolution in group]
    bias = graph.add_constant(f"{name}/merged_bias", np.concatenate(biases))
    _, height, width, _ = graph.tensors[targets[0]].shape
    shape = (1, height, width, sum(convolution.filters for convolution in group))
    merged = graph.add_tensor(f"{name}/merged", TensorType.FLOAT32, shape)
    source = largest.operator.inputs[0]
    merged_convolution = graph.new_operator(
        Op.CONV_2D, [source, filters, bias], [merged], largest.operator.builtinOptions
    )
    options = schema.SplitOptionsT()
    options.numSplits = len(group)
    split = graph.new_operator(Op.SPLIT, [graph.axis_constant(3), merged], targets, options)
    return [merged_convolution, split]
