"""Estimates what an operator costs on a phone's CPU, in instructions of a Cortex-A76.

Fitted to XNNPACK's kernels of LiteRT 2.3 under QEMU: 13 convolutions in each precision, within
10 % (`bokeh-bench study arm64-costs`). The kernels compute a tile of 8 output channels at once in
float32 and of 16 in int8, with one indirection-buffer load per kernel tap; so a tap costs a
constant plus a part for each input channel.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from enum import Enum

from bokeh_convert.graph.editor import Graph
from bokeh_convert.graph.schema_views import Op, Operator


class Precision(Enum):
    """How a convolution is computed.

    FLOAT32: float32 weights and activations. DYNAMIC: dynamic-range quantization: int8 weights,
    and a float input that is quantized to int8 at run time; the output is float.
    """

    FLOAT32 = "float32"
    DYNAMIC = "dynamic"


TILE = {Precision.FLOAT32: 8, Precision.DYNAMIC: 16}
"""Output channels that the kernels compute at once."""
_PER_TAP = {Precision.FLOAT32: 5.1, Precision.DYNAMIC: 6.3}
_PER_INPUT_CHANNEL = {Precision.FLOAT32: 2.5, Precision.DYNAMIC: 1.18}
_QUANTIZE_INPUT = 4.0
_ELEMENTWISE, _AVERAGE = 2.5, 0.6
CONVOLUTIONS = (Op.CONV_2D, Op.TRANSPOSE_CONV)
QUANTIZABLE = (Op.CONV_2D,)
"""Without TRANSPOSE_CONV, which older interpreters (tflite-runtime 2.14) do not run with int8
weights and float activations; in PyNET it is 0.3 % of the instructions."""


def convolution_cost(
    precision: Precision, pixels: int, kernel: int, depth: int, filters: int
) -> float:
    """Returns the instructions of a convolution, quantization of its input included.

    Args:
        precision: How it is computed.
        pixels: Height times width of its output; of its input if it is transposed.
        kernel: Height and width of its kernel.
        depth: Input channels.
        filters: Output channels.
    """
    taps = pixels * kernel**2 * math.ceil(filters / TILE[precision])
    cost = taps * (_PER_TAP[precision] + _PER_INPUT_CHANNEL[precision] * depth)
    if precision == Precision.DYNAMIC:
        cost += _QUANTIZE_INPUT * pixels * depth
    return cost


def graph_cost(graph: Graph, precision: Precision, in_float: Collection[str] = ()) -> float:
    """Returns the instructions of one inference.

    Args:
        graph: A float32 graph.
        precision: How its convolutions will be computed.
        in_float: Convolutions that stay in float32, by the names of their output tensors.
    """
    return sum(_operator_cost(graph, op, precision, in_float) for op in graph.operators)


def _operator_cost(
    graph: Graph, operator: Operator, precision: Precision, in_float: Collection[str]
) -> float:
    def values(tensor: int) -> int:
        return math.prod(graph.tensors[tensor].shape)

    opcode, target = graph.opcode(operator), operator.outputs[0]
    if opcode in (Op.MEAN, Op.AVERAGE_POOL_2D):
        return _AVERAGE * values(operator.inputs[0])
    if opcode not in CONVOLUTIONS:
        return elementwise_cost(sum(values(out) for out in operator.outputs))
    filters, kernel, _, depth = graph.tensors[operator.inputs[1]].shape
    # A transposed convolution costs by its input: stride 2 spreads the kernel over four outputs.
    pixels = values(operator.inputs[2]) // depth if opcode == Op.TRANSPOSE_CONV else 0
    pixels = pixels or values(target) // filters
    if opcode not in QUANTIZABLE or graph.name(target) in in_float:
        precision = Precision.FLOAT32
    return convolution_cost(precision, pixels, kernel, depth, filters)


def elementwise_cost(values: int) -> float:
    """Returns the instructions of one pass over float32 values."""
    return _ELEMENTWISE * values
