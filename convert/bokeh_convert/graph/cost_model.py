"""What an operator costs on a phone's CPU, in instructions of a Cortex-A76.

Fitted to XNNPACK's kernels of LiteRT 2.3, run under QEMU: 13 convolutions in each precision, within
10 % (`bokeh-bench study arm64-costs`). The kernels compute 8 channels at once in float32 and 16
in int8, and for each place of the kernel they read a pointer; so the cost of a place is a constant
and a part for each input channel.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from enum import Enum
from typing import Any

from bokeh_convert.graph.editor import Graph, Op


class Precision(Enum):
    """How a convolution is computed.

    FLOAT32: in float. DYNAMIC: int8 weights; the input is rounded to int8 by the range that it
    has at that moment, the result is float.
    """

    FLOAT32 = "float32"
    DYNAMIC = "dynamic"


TILE = {Precision.FLOAT32: 8, Precision.DYNAMIC: 16}
"""Channels of the result that the kernels compute at once."""
_PLACE = {Precision.FLOAT32: 5.1, Precision.DYNAMIC: 6.3}
_CHANNEL = {Precision.FLOAT32: 2.5, Precision.DYNAMIC: 1.18}
_TO_INT8 = 4.0
_ELEMENTWISE, _AVERAGE = 2.5, 0.6
CONVOLUTIONS = (Op.CONV_2D, Op.TRANSPOSE_CONV)
QUANTIZABLE = (Op.CONV_2D,)
"""Older interpreters (tflite-runtime 2.14) compute no transposed convolution of int8 weights and
float values; in PyNET these are 0.3 % of the instructions."""


def convolution_cost(
    precision: Precision, pixels: int, kernel: int, depth: int, filters: int
) -> float:
    """Returns the instructions of a convolution, the rounding of its input included.

    Args:
        precision: In which it is computed.
        pixels: Of its result; of its input if it is transposed.
        kernel: Places of its kernel along a side.
        depth: Channels of its input.
        filters: Channels of its result.
    """
    places = pixels * kernel**2 * math.ceil(filters / TILE[precision])
    cost = places * (_PLACE[precision] + _CHANNEL[precision] * depth)
    if precision == Precision.DYNAMIC:
        cost += _TO_INT8 * pixels * depth
    return cost


def graph_cost(graph: Graph, precision: Precision, in_float: Collection[str] = ()) -> float:
    """Returns the instructions of one inference.

    Args:
        graph: A float32 graph.
        precision: In which its convolutions will be computed.
        in_float: Convolutions that stay in float32, by the names of their results.
    """
    return sum(_operator_cost(graph, op, precision, in_float) for op in graph.operators)


def _operator_cost(
    graph: Graph, operator: Any, precision: Precision, in_float: Collection[str]
) -> float:
    def values(tensor: int) -> int:
        return math.prod(int(side) for side in graph.tensors[tensor].shape)

    kind, target = graph.kind(operator), int(operator.outputs[0])
    if kind in (Op.MEAN, Op.AVERAGE_POOL_2D):
        return _AVERAGE * values(int(operator.inputs[0]))
    if kind not in CONVOLUTIONS:
        return elementwise_cost(sum(values(int(out)) for out in operator.outputs))
    filters, kernel, _, depth = (int(n) for n in graph.tensors[operator.inputs[1]].shape)
    # The pixels of a transposed convolution's input: stride 2 spreads its kernel over four.
    pixels = values(int(operator.inputs[2])) // depth if kind == Op.TRANSPOSE_CONV else 0
    pixels = pixels or values(target) // filters
    if kind not in QUANTIZABLE or graph.name(target) in in_float:
        precision = Precision.FLOAT32
    return convolution_cost(precision, pixels, kernel, depth, filters)


def elementwise_cost(values: int) -> float:
    """Returns the instructions of one pass over float32 values."""
    return _ELEMENTWISE * values
