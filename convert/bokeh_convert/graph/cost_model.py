"""Estimates what an operator costs on a phone's CPU, in instructions of a Cortex-A76.

Fitted to XNNPACK's kernels of LiteRT 2.3 under QEMU: convolutions in each precision, within about
10 %, and the other operators (`bokeh-bench study arm64-costs`). The kernels compute a tile of 8
output channels at once in float32 and of 16 in the other precisions, with one indirection-buffer
load per kernel tap; so a tap costs a constant plus a part for each input channel.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from enum import Enum

from bokeh_convert.graph.editor import Graph
from bokeh_convert.graph.schema_views import Op, Operator, TensorType


class Precision(Enum):
    """How an operator is computed.

    FLOAT32: float32 weights and activations. DYNAMIC: dynamic-range quantization: int8 weights,
    and a float input that is quantized to int8 at run time; the output is float. STATIC: int8
    weights, input and output, with scales from calibration. HALF: float16 weights and activations,
    which a file needs to allow; see `bokeh_convert.quantize.fp16_arithmetic`.
    """

    FLOAT32 = "float32"
    DYNAMIC = "dynamic"
    STATIC = "static"
    HALF = "half"


TILE = {Precision.FLOAT32: 8, Precision.DYNAMIC: 16, Precision.STATIC: 16, Precision.HALF: 16}
"""Output channels that the kernels compute at once."""
_PER_TAP = {
    Precision.FLOAT32: 5.1, Precision.DYNAMIC: 6.3, Precision.STATIC: 5.9, Precision.HALF: 6.2,
}  # fmt: skip
_PER_INPUT_CHANNEL = {
    Precision.FLOAT32: 2.5, Precision.DYNAMIC: 1.18, Precision.STATIC: 1.21, Precision.HALF: 2.63,
}  # fmt: skip
_PER_TILE = {
    Precision.FLOAT32: 0.0, Precision.DYNAMIC: 0.0, Precision.STATIC: 56.0, Precision.HALF: 22.0,
}  # fmt: skip
_QUANTIZE_INPUT = 4.0
QUANTIZE, DEQUANTIZE = 1.3, 1.2
"""Instructions of converting one activation between float32 and int8."""
CONVERT_HALF = 0.85
"""Instructions of converting one activation between float32 and float16."""
_AVERAGE = {
    Precision.FLOAT32: 0.6, Precision.DYNAMIC: 0.6, Precision.STATIC: 0.64, Precision.HALF: 0.97,
}  # fmt: skip
"""Per value of the input."""
_ELEMENTWISE = {
    Precision.FLOAT32: 2.5, Precision.DYNAMIC: 2.5, Precision.STATIC: 1.3, Precision.HALF: 1.25,
}  # fmt: skip
"""Per value of the output; an average over the operators of PyNET."""
_PER_VALUE: dict[Precision, dict[int, float]] = {
    Precision.FLOAT32: {},
    Precision.DYNAMIC: {},
    Precision.STATIC: {
        Op.ADD: 2.75, Op.LEAKY_RELU: 1.35, Op.LOGISTIC: 0.87, Op.MAX_POOL_2D: 5.1, Op.MUL: 4.2,
        Op.SQUARED_DIFFERENCE: 98.0, Op.SUB: 5.6, Op.TANH: 0.87,
    },
    Precision.HALF: {
        Op.ADD: 0.6, Op.LEAKY_RELU: 0.95, Op.LOGISTIC: 3.0, Op.MAX_POOL_2D: 7.0, Op.MUL: 1.7,
        Op.SQUARED_DIFFERENCE: 0.6, Op.SUB: 1.5, Op.TANH: 1.9,
    },
}  # fmt: skip
"""Per value of the output, where it differs from the average.

MUL and SUB are those with one factor for each channel. XNNPACK has no int8 SQUARED_DIFFERENCE.
"""
_PER_PART = {Precision.STATIC: 33.0, Precision.HALF: 33.0}
"""Per pixel of each part that CONCATENATION joins or SPLIT cuts: one copy of its channels."""
CONVOLUTIONS = (Op.CONV_2D, Op.TRANSPOSE_CONV)
QUANTIZABLE = (Op.CONV_2D,)
"""Without TRANSPOSE_CONV, which older interpreters (tflite-runtime 2.14) do not run with int8
weights and float activations; in PyNET it is 0.3 % of the instructions."""


def convolution_cost(
    precision: Precision, pixels: int, kernel: int, depth: int, filters: int
) -> float:
    """Returns the instructions of a convolution, dynamic quantization of its input included.

    Args:
        precision: How it is computed.
        pixels: Height times width of its output; of its input if it is transposed.
        kernel: Height and width of its kernel.
        depth: Input channels.
        filters: Output channels.
    """
    cost = kernel_cost(precision, pixels, kernel**2, depth, filters)
    return cost + (_QUANTIZE_INPUT * pixels * depth if precision == Precision.DYNAMIC else 0)


def kernel_cost(precision: Precision, pixels: int, taps: int, depth: int, filters: int) -> float:
    """Returns the instructions of a convolution without the quantization of its input.

    Args:
        precision: How it is computed.
        pixels: Output pixels.
        taps: Height times width of its kernel.
        depth: Input channels.
        filters: Output channels.
    """
    tap = _PER_TAP[precision] + _PER_INPUT_CHANNEL[precision] * depth
    tiles = pixels * math.ceil(filters / TILE[precision])
    return tiles * (taps * tap + _PER_TILE[precision])


def graph_cost(graph: Graph, precision: Precision, in_float: Collection[str] = ()) -> float:
    """Returns the instructions of one inference of a float32 graph in another precision.

    In float32 and dynamic precision, the operators other than convolutions are float32; in half
    and static precision, the whole graph is.

    Args:
        graph: A float32 graph.
        precision: How its convolutions will be computed.
        in_float: Convolutions that stay in float32, by the names of their output tensors.
    """

    def precision_of(operator: Operator) -> Precision:
        if precision in (Precision.STATIC, Precision.HALF):
            stays = graph.name(operator.outputs[0]) in in_float
            return Precision.FLOAT32 if stays else precision
        if graph.opcode(operator) not in QUANTIZABLE or graph.name(operator.outputs[0]) in in_float:
            return Precision.FLOAT32
        return precision

    cost = sum(_operator_cost(graph, op, precision_of(op)) for op in graph.operators)
    return cost + (_half_conversions(graph) if precision == Precision.HALF else 0)


def file_cost(graph: Graph, *, half: bool) -> float:
    """Returns the instructions of one inference of a file as it is stored.

    The precision of each operator follows from the types of its tensors, so that a file may mix
    them.

    Args:
        graph: The file.
        half: Whether the file allows float16 arithmetic, in which case the CPU computes its float
            operators in half precision.
    """
    in_float = Precision.HALF if half else Precision.FLOAT32
    cost = sum(
        _operator_cost(graph, op, _stored_precision(graph, op, in_float)) for op in graph.operators
    )
    return cost + (_half_conversions(graph) if half else 0)


def convolutions(graph: Graph) -> tuple[int, float]:
    """Returns the multiplications of all convolutions, and their instructions in static int8."""
    count, cost = 0, 0.0
    for operator in graph.operators:
        if graph.opcode(operator) in (Op.CONV_2D, Op.TRANSPOSE_CONV):
            pixels, taps, depth, filters = _convolution_size(graph, operator)
            count += pixels * taps * depth * filters
            cost += kernel_cost(Precision.STATIC, pixels, taps, depth, filters)
    return count, cost


def elementwise_cost(values: int, precision: Precision = Precision.FLOAT32) -> float:
    """Returns the instructions of one pass over values of a precision."""
    return _ELEMENTWISE[precision] * values


def _stored_precision(graph: Graph, operator: Operator, in_float: Precision) -> Precision:
    integer = (TensorType.INT8, TensorType.UINT8)
    if graph.tensors[operator.outputs[0]].type in integer:
        return Precision.STATIC
    if graph.opcode(operator) in QUANTIZABLE:
        return Precision.DYNAMIC if graph.tensors[operator.inputs[1]].type in integer else in_float
    return in_float


def _half_conversions(graph: Graph) -> float:
    """Returns the cost of converting the graph's float inputs and outputs."""
    tensors = [graph.tensors[tensor] for tensor in (*graph.inputs, *graph.outputs)]
    values = sum(math.prod(t.shape) for t in tensors if t.type == TensorType.FLOAT32)
    return CONVERT_HALF * values


def _operator_cost(graph: Graph, operator: Operator, precision: Precision) -> float:
    opcode = graph.opcode(operator)
    values = sum(math.prod(graph.tensors[out].shape) for out in operator.outputs)
    if opcode in CONVOLUTIONS:
        return _stored_convolution_cost(graph, operator, precision)
    if opcode in (Op.QUANTIZE, Op.DEQUANTIZE):
        if graph.is_constant(operator.inputs[0]):
            return 0  # computed once, when the file is loaded
        return values * (QUANTIZE if opcode == Op.QUANTIZE else DEQUANTIZE)
    if opcode in (Op.MEAN, Op.AVERAGE_POOL_2D):
        return _AVERAGE[precision] * math.prod(graph.tensors[operator.inputs[0]].shape)
    if opcode in (Op.CONCATENATION, Op.SPLIT) and precision in _PER_PART:
        parts = operator.inputs if opcode == Op.CONCATENATION else operator.outputs
        pixels = sum(math.prod(graph.tensors[part].shape[:-1]) for part in parts)
        return _PER_PART[precision] * pixels
    return values * _PER_VALUE[precision].get(opcode, _ELEMENTWISE[precision])


def _stored_convolution_cost(graph: Graph, operator: Operator, precision: Precision) -> float:
    cost = kernel_cost(precision, *_convolution_size(graph, operator))
    if precision == Precision.DYNAMIC:
        cost += _QUANTIZE_INPUT * math.prod(graph.tensors[operator.inputs[0]].shape)
    return cost


def _convolution_size(graph: Graph, operator: Operator) -> tuple[int, int, int, int]:
    """Returns output pixels, taps, input and output channels of a convolution."""
    filters, rows, columns, depth = graph.tensors[operator.inputs[1]].shape
    # A transposed convolution costs by its input: stride 2 spreads the kernel over four outputs.
    transposed = graph.opcode(operator) == Op.TRANSPOSE_CONV
    source, channels = (operator.inputs[2], depth) if transposed else (operator.outputs[0], filters)
    pixels = math.prod(graph.tensors[source].shape) // channels
    return pixels, rows * columns, depth, filters
