"""Writes convolutions in static int8: int8 weights, input and output, with calibrated scales.

The input and output of the network and the operators between the convolutions stay in float, except
those that int8 computes as well and more cheaply: RESHAPE and SPLIT of a convolution's output, and
leaky ReLU between two convolutions. Weights that stay in float are stored in float16.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from bokeh_convert.graph.editor import Graph
from bokeh_convert.graph.schema_views import Op, Operator, QuantizationParameters, TensorType
from bokeh_convert.quantize.activation_statistics import LEVELS, Range


class _Slots(NamedTuple):
    """Inputs of a convolution, and the dimension of its filters that has a scale each."""

    source: int
    filters: int
    bias: int
    dimension: int


QUANTIZABLE: Mapping[int, _Slots] = {
    Op.CONV_2D: _Slots(0, 1, 2, 0),
    Op.DEPTHWISE_CONV_2D: _Slots(0, 1, 2, 3),
    Op.TRANSPOSE_CONV: _Slots(2, 1, 3, 0),
}
_ACTIVATIONS = (
    schema.ActivationFunctionType.NONE,
    schema.ActivationFunctionType.RELU,
    schema.ActivationFunctionType.RELU6,
    schema.ActivationFunctionType.RELU_N1_TO_1,
)
"""Fused activation functions that the int8 kernels have."""
LOWEST, HIGHEST = -128, 127
_WEIGHT_LEVELS = 127
_MAX_BIAS = 2.0**30
_VERSIONS = {
    Op.CONV_2D: 3, Op.DEPTHWISE_CONV_2D: 3, Op.TRANSPOSE_CONV: 3, Op.DEQUANTIZE: 3,
    Op.LEAKY_RELU: 2, Op.SPLIT: 2,
}  # fmt: skip
"""First version of each operator with int8 (for DEQUANTIZE: with float16)."""
_WITH_WEIGHTS = (Op.CONV_2D, Op.TRANSPOSE_CONV, Op.DEPTHWISE_CONV_2D, Op.FULLY_CONNECTED)


def write_static_int8(
    graph: Graph, ranges: Mapping[str, Range], in_float: Collection[str] = ()
) -> list[str]:
    """Quantizes the convolutions of a float32 graph in place.

    Args:
        graph: The graph.
        ranges: (minimum, maximum) of the activations. An output without a range has that of the
            tensors that RESHAPE or SPLIT make of it.
        in_float: Names of the output tensors of convolutions to keep in float.

    Returns:
        Names of the output tensors of the convolutions that were quantized.
    """
    writer = _Writer(graph, ranges, in_float)
    operators: list[Operator] = []
    for operator in graph.operators:
        operators += writer.write(operator)
    graph.operators = [*operators, *writer.in_float(graph.outputs)]
    graph.remove_unused()
    for opcode, version in _VERSIONS.items():
        graph.require_version(opcode, version)
    return writer.quantized


def store_weights_in_float16(graph: Graph) -> None:
    """Stores the float32 weights of convolutions in float16, which interpreters unpack at start.

    Weights that float16 cannot represent stay as they are.
    """
    largest = float(np.finfo(np.float16).max)
    stored: dict[int, int] = {}
    operators: list[Operator] = []
    for operator in graph.operators:
        weights = operator.inputs[1] if graph.opcode(operator) in _WITH_WEIGHTS else -1
        if graph.is_constant(weights) and graph.tensors[weights].type == TensorType.FLOAT32:
            values = graph.constant(weights)
            if weights not in stored and np.abs(values).max(initial=0) <= largest:
                name = graph.name(weights)
                half = graph.add_constant(f"{name}/float16", values.astype(np.float16))
                shape = graph.tensors[weights].shape
                stored[weights] = graph.add_tensor(f"{name}/unpacked", TensorType.FLOAT32, shape)
                unpack = schema.DequantizeOptionsT()
                operators.append(
                    graph.new_operator(Op.DEQUANTIZE, [half], [stored[weights]], unpack)
                )
            operator.inputs[1] = stored.get(weights, weights)
        operators.append(operator)
    graph.operators = operators
    graph.remove_unused()
    graph.require_version(Op.DEQUANTIZE, _VERSIONS[Op.DEQUANTIZE])


class _Writer:
    """Goes through the operators in execution order, and knows which tensors exist in which type.

    A tensor is converted where an operator needs it in a type in which it does not exist yet.
    """

    def __init__(
        self, graph: Graph, ranges: Mapping[str, Range], in_float: Collection[str]
    ) -> None:
        self._graph, self._ranges = graph, ranges
        self._readers = graph.consumers()
        self._int8: dict[int, int] = {}
        """The int8 form of float tensors that have one."""
        self._only_int8: set[int] = set()
        self._convolutions = {
            id(operator)
            for operator in graph.operators
            if graph.name(operator.outputs[0]) not in in_float and self._can_quantize(operator)
        }
        self.quantized: list[str] = []

    def write(self, operator: Operator) -> list[Operator]:
        """Returns what replaces an operator."""
        opcode = self._graph.opcode(operator)
        if id(operator) in self._convolutions:
            return self._convolution(operator)
        (*_, source) = operator.inputs if opcode == Op.SPLIT else operator.inputs[:1] or [-1]
        if source in self._only_int8:
            if opcode in (Op.RESHAPE, Op.SPLIT):
                quantization = self._graph.tensors[self._int8[source]].quantization
                return self._in_int8(operator, source, quantization)
            if opcode == Op.LEAKY_RELU and self._is_between_convolutions(operator):
                low, high = self._ranges[self._graph.name(operator.outputs[0])]
                return self._in_int8(operator, source, activation_quantization(low, high))
        return [*self.in_float(operator.inputs), operator]

    def in_float(self, tensors: Sequence[int]) -> list[Operator]:
        """Returns the operators that make the float form of tensors, where it is missing."""
        added = []
        for tensor in dict.fromkeys(tensors):
            if tensor in self._only_int8:
                self._only_int8.remove(tensor)
                options, source = schema.DequantizeOptionsT(), self._int8[tensor]
                added.append(self._graph.new_operator(Op.DEQUANTIZE, [source], [tensor], options))
        return added

    def _can_quantize(self, operator: Operator) -> bool:
        graph, slots = self._graph, QUANTIZABLE.get(self._graph.opcode(operator))
        if slots is None:
            return False
        source, constants = operator.inputs[slots.source], [operator.inputs[slots.filters]]
        if _has_bias(operator, slots):
            constants.append(operator.inputs[slots.bias])
        return (
            graph.fused_activation(operator) in _ACTIVATIONS
            and all(graph.is_constant(i) for i in constants)
            and all(graph.tensors[i].type == TensorType.FLOAT32 for i in (source, *constants))
            and graph.name(source) in self._ranges
            and self._output_range(operator) is not None
        )

    def _output_range(self, operator: Operator) -> Range | None:
        """Returns the range of a convolution's output, or that of what is made of it."""
        (target,) = operator.outputs
        made = [target]
        if self._graph.name(target) not in self._ranges:
            readers = self._readers.get(target, [])
            if any(self._graph.opcode(op) not in (Op.RESHAPE, Op.SPLIT) for op in readers):
                return None
            made = [out for reader in readers for out in reader.outputs]
        ranges = [self._ranges.get(self._graph.name(tensor)) for tensor in made]
        known = [one for one in ranges if one is not None]
        if not known or len(known) < len(ranges):
            return None
        return min(low for low, _ in known), max(high for _, high in known)

    def _is_between_convolutions(self, operator: Operator) -> bool:
        """Whether all that an operator computes goes to int8 convolutions."""
        (target,) = operator.outputs
        return (
            target not in self._graph.outputs
            and self._graph.name(target) in self._ranges
            and all(id(reader) in self._convolutions for reader in self._readers.get(target, []))
        )

    def _convolution(self, operator: Operator) -> list[Operator]:
        graph, slots = self._graph, QUANTIZABLE[self._graph.opcode(operator)]
        output_range, target = self._output_range(operator), operator.outputs[0]
        assert output_range is not None
        source, filters = operator.inputs[slots.source], operator.inputs[slots.filters]
        added = self._quantize(source)
        (input_scale,) = graph.tensors[self._int8[source]].quantization.scale  # type: ignore[misc, union-attr]
        weights = np.moveaxis(graph.constant(filters).astype(np.float64), slots.dimension, 0)
        has_bias = _has_bias(operator, slots)
        bias = graph.constant(operator.inputs[slots.bias]) if has_bias else np.zeros(len(weights))
        scales = np.abs(weights).reshape(len(weights), -1).max(axis=1) / _WEIGHT_LEVELS
        # The bias is an int32 in units of both scales.
        scales = np.maximum(scales, np.abs(bias) / (input_scale * _MAX_BIAS))
        scales = np.where(scales > 0, scales, 1.0).astype(np.float32).astype(np.float64)
        levels = np.rint(weights / scales.reshape(-1, *(1,) * (weights.ndim - 1)))
        name = graph.name(target)
        int8_filters = graph.add_constant(
            f"{name}/int8_filters",
            np.ascontiguousarray(np.moveaxis(levels.astype(np.int8), 0, slots.dimension)),
            _quantization(scales, slots.dimension),
        )
        int32_bias = graph.add_constant(
            f"{name}/int32_bias",
            np.rint(bias / (scales * input_scale)).astype(np.int32),
            _quantization(scales * input_scale),
        )
        self.quantized.append(name)
        inputs = [*operator.inputs, *[-1] * (slots.bias + 1 - len(operator.inputs))]
        inputs[slots.source], inputs[slots.filters] = self._int8[source], int8_filters
        inputs[slots.bias] = int32_bias
        operator.inputs = inputs
        operator.outputs = [self._new_int8(target, activation_quantization(*output_range))]
        return [*added, operator]

    def _quantize(self, tensor: int) -> list[Operator]:
        if tensor in self._int8:
            return []
        low, high = self._ranges[self._graph.name(tensor)]
        target = self._new_int8(tensor, activation_quantization(low, high))
        self._only_int8.remove(tensor)
        options = schema.QuantizeOptionsT()
        return [self._graph.new_operator(Op.QUANTIZE, [tensor], [target], options)]

    def _in_int8(
        self, operator: Operator, source: int, quantization: QuantizationParameters | None
    ) -> list[Operator]:
        operator.inputs = [self._int8[i] if i == source else i for i in operator.inputs]
        operator.outputs = [self._new_int8(out, quantization) for out in operator.outputs]
        return [operator]

    def _new_int8(self, tensor: int, quantization: QuantizationParameters | None) -> int:
        """Adds the int8 form of a tensor."""
        name, shape = f"{self._graph.name(tensor)}/int8", self._graph.tensors[tensor].shape
        self._int8[tensor] = self._graph.add_tensor(name, TensorType.INT8, shape, quantization)
        self._only_int8.add(tensor)
        return self._int8[tensor]


def _has_bias(operator: Operator, slots: _Slots) -> bool:
    return len(operator.inputs) > slots.bias and operator.inputs[slots.bias] >= 0


def activation_quantization(low: float, high: float) -> QuantizationParameters:
    """Returns scale and zero point of an int8 activation; 0 is always represented exactly."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = float(np.float32((high - low) / LEVELS)) or 1.0
    quantization = _quantization([scale])
    quantization.zeroPoint = [int(np.clip(round(LOWEST - low / scale), LOWEST, HIGHEST))]
    return quantization


def _quantization(scales: Iterable[float], dimension: int = 0) -> QuantizationParameters:
    """Returns scales by index of a dimension, or one for the whole tensor, with zero point 0."""
    quantization: QuantizationParameters = schema.QuantizationParametersT()
    quantization.scale = [float(scale) for scale in scales]
    quantization.zeroPoint = [0] * len(quantization.scale)
    quantization.quantizedDimension = dimension
    return quantization
