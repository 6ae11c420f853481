"""Computes adjacent pixels of a convolution as channels, to fill the channel tiles of CPU kernels.

The int8 and half-precision kernels of phones compute 16 output channels at once; at small widths
most convolutions of PyNET have 8, and half of the work is wasted. A convolution with stride 2 along
a row, whose filters are there twice, one of them shifted by a pixel, computes two adjacent pixels
of 8 channels as one of 16. Its output has the same order in memory, so a RESHAPE takes it back. The
kernel is one column wider: a 9 x 9 convolution of 8 filters costs 90 taps for two pixels instead of
162.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from bokeh_convert.graph.cost_model import Precision, kernel_cost
from bokeh_convert.graph.editor import Graph
from bokeh_convert.graph.schema_views import Op, Operator, TensorType, conv_2d_options

MAX_PIXELS = 8
"""Pixels computed at once; more never paid."""


def group_pixels(
    graph: Graph, precision: Precision, only: Callable[[str], bool] = lambda name: True
) -> int:
    """Rewrites convolutions in place where that costs less; returns how many.

    Args:
        graph: A float32 graph. Only convolutions with stride 1, SAME padding, constant weights and
            a bias, no groups, no fused activation and a kernel of odd width are rewritten.
        precision: How the convolutions will be computed.
        only: Whether to rewrite a convolution, by the name of its output tensor.
    """
    operators: list[Operator] = []
    count = 0
    for operator in graph.operators:
        fits = _fits(graph, operator) and only(graph.name(operator.outputs[0]))
        pixels = _cheapest(graph, operator, precision) if fits else 1
        operators += [operator] if pixels == 1 else _grouped(graph, operator, pixels)
        count += pixels > 1
    graph.operators = operators
    graph.remove_unused()
    return count


def _fits(graph: Graph, operator: Operator) -> bool:
    if graph.opcode(operator) != Op.CONV_2D or graph.has_fused_activation(operator):
        return False
    options = conv_2d_options(operator)
    if (options.strideH, options.strideW) != (1, 1) or options.padding != schema.Padding.SAME:
        return False
    if (options.dilationHFactor, options.dilationWFactor) != (1, 1):
        return False
    if len(operator.inputs) != 3 or not all(graph.is_constant(i) for i in operator.inputs[1:]):
        return False
    if graph.is_grouped(operator):  # which filters see which channels depends on their number
        return False
    # SAME padding of an even width adds one more column on the right than on the left.
    return bool(graph.tensors[operator.inputs[1]].shape[2] % 2)


def _cheapest(graph: Graph, operator: Operator, precision: Precision) -> int:
    """Returns how many pixels to compute at once; 1 leaves the convolution as it is."""
    filters, rows, columns, depth = graph.tensors[operator.inputs[1]].shape
    batch, height, width, _ = graph.tensors[operator.outputs[0]].shape

    def cost(pixels: int) -> float:
        taps = rows * (columns + pixels - 1)
        positions = batch * height * width // pixels
        return kernel_cost(precision, positions, taps, depth, filters * pixels)

    return min((n for n in range(1, MAX_PIXELS + 1) if width % n == 0), key=cost)


def _grouped(graph: Graph, operator: Operator, pixels: int) -> list[Operator]:
    """Returns the convolution of several pixels and the RESHAPE of its output."""
    source, weights, bias = operator.inputs
    (target,) = operator.outputs
    values = graph.constant(weights)
    # The filters of pixel i start i columns further to the right.
    shifted = [np.pad(values, ((0, 0), (0, 0), (i, pixels - 1 - i), (0, 0))) for i in range(pixels)]
    name, shape = graph.name(target), list(graph.tensors[target].shape)
    batch, height, width, filters = shape
    new_weights = graph.add_constant(f"{name}/grouped_filters", np.concatenate(shifted))
    new_bias = graph.add_constant(f"{name}/grouped_bias", np.tile(graph.constant(bias), pixels))
    grouped_shape = (batch, height, width // pixels, filters * pixels)
    grouped = graph.add_tensor(f"{name}/grouped", TensorType.FLOAT32, grouped_shape)
    options = copy.copy(conv_2d_options(operator))
    options.strideW = pixels
    convolution = graph.new_operator(
        Op.CONV_2D, [source, new_weights, new_bias], [grouped], options
    )
    reshape = schema.ReshapeOptionsT()
    reshape.newShape = shape
    to_shape = graph.add_constant(f"{name}/shape", np.array(shape, np.int32))
    return [convolution, graph.new_operator(Op.RESHAPE, [grouped, to_shape], [target], reshape)]
