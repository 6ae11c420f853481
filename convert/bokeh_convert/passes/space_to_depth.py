"""Writes SPACE_TO_DEPTH as the convolution that it is, for targets that lack the operator.

The convolution's stride is the block size, and each filter has a single one: it copies one value of
the block. Every output is a sum of zeros and one value, so finite float32 values stay the same bit
for bit. In 8 and 16 bits a one is exact too: a channel's scale is that of its largest weight.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from bokeh_convert.graph.editor import Graph
from bokeh_convert.graph.schema_views import (
    Conv2DOptions,
    Op,
    Operator,
    TensorType,
    space_to_depth_options,
)


def write_space_to_depth_as_convolution(graph: Graph) -> int:
    """Replaces each SPACE_TO_DEPTH of floats in place, and returns their number."""
    operators, count = [], 0
    for operator in graph.operators:
        if (
            graph.opcode(operator) == Op.SPACE_TO_DEPTH
            and graph.tensors[operator.inputs[0]].type == TensorType.FLOAT32
        ):
            operators.append(_convolution(graph, operator))
            count += 1
        else:
            operators.append(operator)
    graph.operators = operators
    graph.remove_unused()
    return count


def rearranged_inputs(graph: Graph) -> list[str]:
    """Returns the names of the outputs of SPACE_TO_DEPTH that hold the network's input."""
    return [
        graph.name(operator.outputs[0])
        for operator in graph.operators
        if graph.opcode(operator) == Op.SPACE_TO_DEPTH and operator.inputs[0] in graph.inputs
    ]


def _convolution(graph: Graph, operator: Operator) -> Operator:
    block = space_to_depth_options(operator).blockSize
    (source,), (target,) = operator.inputs, operator.outputs
    filters = one_hot_filters(block, graph.tensors[source].shape[3])
    name = graph.name(target)
    weights = graph.add_constant(f"{name}/filters", filters)
    # Delegates and quantizers expect a bias.
    bias = graph.add_constant(f"{name}/bias", np.zeros(len(filters), np.float32))
    options: Conv2DOptions = schema.Conv2DOptionsT()
    options.padding = schema.Padding.VALID
    options.strideH = options.strideW = block
    options.dilationHFactor = options.dilationWFactor = 1
    return graph.new_operator(Op.CONV_2D, [source, weights, bias], [target], options)


def one_hot_filters(block: int, channels: int) -> npt.NDArray[np.float32]:
    """Returns the filters: float32 [block * block * channels, block, block, channels].

    SPACE_TO_DEPTH puts the values of a block in the order row, column, channel.
    """
    count = block * block * channels
    return np.eye(count, dtype=np.float32).reshape(count, block, block, channels)
