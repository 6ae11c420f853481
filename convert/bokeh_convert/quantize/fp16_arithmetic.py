"""Float16 arithmetic on ARM CPUs: its emulation, and the metadata entry that allows it.

XNNPACK computes in float16 on ARM CPUs if the metadata of the file allows it, which halves the
latency. The emulation predicts the effect on the output. It rounds every activation to float16,
and the outputs of convolutions and matrix products more coarsely: their kernels add up in float16,
too, and round after each product.

If the products are independent, the partial sum of the first k of n products has k / n of the
variance of the whole sum, and so have the rounding errors. They add up to (1 + ... + n) / n, or
(n + 1) / 2 times the variance of one rounding error of the sum. It is an estimate: with ReLU, half
the products are 0 and add no error (measured in docs/limitations.md).
"""

from __future__ import annotations

from typing import cast

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from bokeh_convert.graph.editor import Graph
from bokeh_convert.graph.schema_views import Op, Operator, TensorType

MIN_PSNR_DB = 50.0
"""PSNR of the worst photo against the full model from which a file allows float16 arithmetic.

The error is then 0.8/255 (RMS); that of rounding to 8 bits is 0.3/255.
"""
# Defined in TensorFlow's reduced_precision_support.h.
_ENTRY = "reduced_precision_support"
_FP16_WITH_FP16_ACCUMULATION = b"fp16accfp16"
_CHANNEL_AXES = {
    Op.CONV_2D: 0, Op.DEPTHWISE_CONV_2D: -1, Op.FULLY_CONNECTED: 0, Op.TRANSPOSE_CONV: 0,
}  # fmt: skip
"""Axis of the output channels in the filters."""


def emulate_fp16_arithmetic(content: bytes) -> bytes:
    """Returns a file whose float activations have the errors of float16 arithmetic.

    Args:
        content: A .tflite file with float operators; its weights may be float16.
    """
    graph = Graph(content)
    producers = graph.producers()
    operators: list[Operator] = []
    rounded_inputs: dict[int, int] = {}
    for source in graph.inputs:
        if graph.tensors[source].type == TensorType.FLOAT32:
            rounded_inputs[source] = _like(graph, source, "rounded")
            operators += _rounding(graph, source, rounded_inputs[source], np.float32(1))
    for operator in graph.operators:
        operator.inputs = [rounded_inputs.get(tensor, tensor) for tensor in operator.inputs]
        operators.append(operator)
        if graph.opcode(operator) == Op.DEQUANTIZE:
            continue
        products = _products_per_sum(graph, operator, producers)
        gain = np.float32(np.sqrt(max(1.0, (products + 1) / 2)))
        for slot, target in enumerate(operator.outputs):
            if graph.tensors[target].type == TensorType.FLOAT32:
                operator.outputs[slot] = _like(graph, target, "exact")
                operators += _rounding(graph, operator.outputs[slot], target, gain)
    graph.operators = operators
    return graph.to_bytes()


def allow_fp16_arithmetic(content: bytes) -> bytes:
    """Returns the file with the metadata entry that lets ARM CPUs compute it in float16."""
    graph = Graph(content)
    graph.set_metadata(_ENTRY, _FP16_WITH_FP16_ACCUMULATION)
    return graph.to_bytes()


def _rounding(graph: Graph, source: int, target: int, gain: np.float32) -> list[Operator]:
    """Returns operators that round to float16, with `gain` times the error if that is over 1."""
    if gain == 1:
        half = _like(graph, target, "half", TensorType.FLOAT16)
        return [
            _cast(graph, source, half, TensorType.FLOAT32, TensorType.FLOAT16),
            _cast(graph, half, target, TensorType.FLOAT16, TensorType.FLOAT32),
        ]
    rounded, error, scaled, coarse = (
        _like(graph, target, name) for name in ("rounded", "error", "scaled", "coarse")
    )
    factor = graph.add_constant(f"gain_{target}", gain.reshape(1))
    return [
        *_rounding(graph, source, rounded, np.float32(1)),
        graph.new_operator(Op.SUB, [rounded, source], [error], schema.SubOptionsT()),
        graph.new_operator(Op.MUL, [error, factor], [scaled], schema.MulOptionsT()),
        graph.new_operator(Op.ADD, [source, scaled], [coarse], schema.AddOptionsT()),
        *_rounding(graph, coarse, target, np.float32(1)),
    ]


def _like(graph: Graph, tensor: int, name: str, kind: int = TensorType.FLOAT32) -> int:
    """Adds an activation of the shape of another."""
    return graph.add_tensor(f"{name}_{tensor}", kind, list(graph.tensors[tensor].shape))


def _products_per_sum(graph: Graph, operator: Operator, producers: dict[int, Operator]) -> float:
    """Returns how many products the operator adds up in float16 for an output, on average.

    Products with weights of 0 do not count: they change no sum. `MEAN` and `SUM` return 0, as their
    kernels add up in float32.
    """
    code = graph.opcode(operator)
    if code == Op.BATCH_MATMUL:
        options = cast("schema.BatchMatMulOptionsT", operator.builtinOptions)
        return float(graph.tensors[operator.inputs[0]].shape[-2 if options.adjX else -1])
    if code not in _CHANNEL_AXES or graph.tensors[operator.inputs[1]].type != TensorType.FLOAT32:
        return 0.0
    filters = operator.inputs[1]
    shape = graph.tensors[filters].shape
    if filters in producers:
        filters = producers[filters].inputs[0]
    nonzero = (
        np.count_nonzero(graph.constant(filters)) if graph.is_constant(filters) else np.prod(shape)
    )
    sums = int(shape[_CHANNEL_AXES[code]])
    if code == Op.TRANSPOSE_CONV:
        strides = cast("schema.TransposeConvOptionsT", operator.builtinOptions)
        sums *= strides.strideH * strides.strideW
    return float(nonzero / sums)


def _cast(graph: Graph, source: int, target: int, from_kind: int, to_kind: int) -> Operator:
    options = schema.CastOptionsT()
    options.inDataType, options.outDataType = from_kind, to_kind
    return graph.new_operator(Op.CAST, [source], [target], options)
