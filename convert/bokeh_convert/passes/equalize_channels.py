"""Equalizes the ranges of channels, so that one scale per tensor fits all of them.

An activation has one scale for all its channels in int8; a channel with a tenth of the largest
range has a tenth of the levels. Multiplying a channel by a factor, and the filters that read it by
the inverse, does not change what the network computes (cross-layer equalization; Nagel et al.,
2019, arXiv:1906.04721). Factors pass through what is homogeneous: leaky ReLU, pooling,
concatenation and sums, whose operands then have the same factor. Normalizations absorb them:
`bokeh_convert.passes.norm_scaling`.

`bokeh_convert.passes.channel_factors` chooses the factors. The paper balances pairs of layers
instead, which does not apply here: its weights have one scale per tensor, ours one per channel.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from bokeh_convert.graph.editor import Graph
from bokeh_convert.graph.schema_views import Op, Operator, TensorType
from bokeh_convert.passes.channel_factors import (
    ChannelClasses,
    RoundedTensor,
    Vector,
    smallest_error_logarithms,
)
from bokeh_convert.passes.norm_scaling import ScalableNorm, find_scalable_norms


class ChannelStatistics(Protocol):
    """What is known of the channels of a tensor."""

    @property
    def largest(self) -> Vector:
        """Largest absolute value of each channel, float64 [channels]."""

    @property
    def variance(self) -> Vector:
        """Variance of each channel, float64 [channels]."""


def equalize_channels(
    graph: Graph,
    statistics: Mapping[str, ChannelStatistics],
    pinned: Collection[str] = (),
) -> dict[str, Vector]:
    """Scales channels in place.

    Args:
        graph: A float32 graph.
        statistics: Of the tensors that will be quantized, by name; others do not count.
        pinned: Names of tensors that are not scaled, like the network's input and output.

    Returns:
        The factor of each channel of the tensors that changed, by name, float64 [channels].
    """
    classes = _ScaleClasses(graph, pinned)
    logarithms = _solve(graph, classes, statistics)
    scales = {
        tensor: np.exp(logarithms[classes.roots(tensor)])
        for tensor in classes.tensors
        if not graph.is_constant(tensor)
    }
    _apply(graph, classes, scales)
    changed = {graph.name(tensor): scale for tensor, scale in scales.items() if np.any(scale != 1)}
    for norm in classes.norms:
        ends = scales[norm.source], scales[norm.target]
        for tensor, powers in norm.powers.items():
            changed[graph.name(tensor)] = _power(ends, powers.source, powers.target)
    graph.remove_unused()
    return changed


def _power(ends: tuple[Vector, Vector], source: float, target: float) -> Vector:
    return np.asarray(ends[0] ** source * ends[1] ** target)


class _ScaleClasses(ChannelClasses):
    """The classes of the activations of a graph, which are known by their indices."""

    def __init__(self, graph: Graph, pinned: Collection[str]) -> None:
        super().__init__(lambda tensor: _channels(graph, tensor))
        self._graph = graph
        self.norms: list[ScalableNorm] = find_scalable_norms(graph)
        inside = {id(operator) for norm in self.norms for operator in norm.operators}
        for norm in self.norms:
            self.add(norm.source, norm.target)
            if not norm.scales_target:
                self.pin(norm.target)
        self.added: list[tuple[Operator, int]] = []
        """Constants that are added to a tensor, by operator and slot."""
        for operator in graph.operators:
            if id(operator) not in inside:
                self._connect(operator)
        self.pin(
            *graph.inputs,
            *graph.outputs,
            *[i for i in self.tensors if graph.name(i) in pinned],
            *[i for i in self.tensors if graph.tensors[i].type != TensorType.FLOAT32],
        )

    def _connect(self, operator: Operator) -> None:
        graph, opcode = self._graph, self._graph.opcode(operator)
        variable = [i for i in operator.inputs if i >= 0 and not graph.is_constant(i)]
        target = operator.outputs[0]
        if absorbs(graph, operator):
            self.add(*variable, target)
        elif (
            opcode in _HOMOGENEOUS
            and graph.fused_activation(operator) in _HOMOGENEOUS_ACTIVATIONS
            and self._same_channels(variable, target)
        ):
            self.tie(variable[0], target)
        elif opcode == Op.CONCATENATION and _joins_channels(graph, operator):
            self.tie_all(operator.inputs, target)
        elif (
            opcode in (Op.ADD, Op.SUB)
            and graph.tensors[target].type == TensorType.FLOAT32
            and graph.fused_activation(operator) in _HOMOGENEOUS_ACTIVATIONS
            and self._same_channels(variable, target)
        ):
            for tensor in variable:
                self.tie(tensor, target)
            constants = [s for s, i in enumerate(operator.inputs) if graph.is_constant(i)]
            self.added += [(operator, slot) for slot in constants]
        else:
            self.pin(*variable, *operator.outputs)

    def _same_channels(self, tensors: list[int], target: int) -> bool:
        shapes = [list(self._graph.tensors[tensor].shape) for tensor in (*tensors, target)]
        return all(len(shape) == 4 and shape[-1] == shapes[-1][-1] for shape in shapes)


def _channels(graph: Graph, tensor: int) -> int:
    shape = graph.tensors[tensor].shape
    return shape[-1] if len(shape) else 1


_HOMOGENEOUS = (Op.LEAKY_RELU, Op.RELU, Op.MAX_POOL_2D, Op.AVERAGE_POOL_2D, Op.RESIZE_BILINEAR,
                Op.RESIZE_NEAREST_NEIGHBOR)  # fmt: skip
_HOMOGENEOUS_ACTIVATIONS = (
    schema.ActivationFunctionType.NONE,
    schema.ActivationFunctionType.RELU,
)


def absorbs(graph: Graph, operator: Operator) -> bool:
    """Whether the filters of an operator can absorb factors of its input and output."""
    if graph.opcode(operator) not in (Op.CONV_2D, Op.TRANSPOSE_CONV):
        return False
    filters, bias, source = _convolution_slots(graph, operator)
    constants = [operator.inputs[slot] for slot in (filters, bias) if slot is not None]
    return (
        graph.fused_activation(operator) in _HOMOGENEOUS_ACTIVATIONS
        and all(
            graph.is_constant(i) and graph.tensors[i].type == TensorType.FLOAT32 for i in constants
        )
        and not graph.is_constant(operator.inputs[source])
        and not graph.is_grouped(operator)
    )


def _convolution_slots(graph: Graph, operator: Operator) -> tuple[int, int | None, int]:
    """Returns the slots of filters, bias (None if there is none) and input."""
    transposed = graph.opcode(operator) == Op.TRANSPOSE_CONV
    bias, source = (3, 2) if transposed else (2, 0)
    has_bias = len(operator.inputs) > bias and operator.inputs[bias] >= 0
    return 1, bias if has_bias else None, source


def _joins_channels(graph: Graph, operator: Operator) -> bool:
    """Whether an operator is a CONCATENATION of activations along the channels, of rank 4."""
    rank = len(graph.tensors[operator.outputs[0]].shape)
    axis = cast(schema.ConcatenationOptionsT, operator.builtinOptions).axis
    return (
        rank == 4
        and axis % rank == 3
        and not graph.has_fused_activation(operator)
        and not any(graph.is_constant(i) for i in operator.inputs)
    )


def _solve(
    graph: Graph, classes: _ScaleClasses, statistics: Mapping[str, ChannelStatistics]
) -> Vector:
    """Returns the natural logarithm of each class's factor."""
    weights = _weights(graph, classes, statistics)
    tensors = {graph.name(tensor): tensor for tensor in classes.tensors}
    rounded = [
        RoundedTensor(classes.roots(tensors[name]), statistics[name].largest, weight)
        for name, weight in weights.items()
    ]
    return smallest_error_logarithms(rounded, classes.count)


def _weights(
    graph: Graph, classes: _ScaleClasses, statistics: Mapping[str, ChannelStatistics]
) -> dict[str, Vector]:
    """Returns what an error in each channel is worth, by the name of the tensor.

    An error in the input of convolutions counts by the square of the filters that read it, one in
    the input of a normalization by the channel's variance, which that divides by.
    """
    filters: dict[int, Vector] = {}
    for operator in graph.operators:
        if absorbs(graph, operator):
            slot, _, source = _convolution_slots(graph, operator)
            squares = np.square(graph.constant(operator.inputs[slot]), dtype=np.float64)
            tensor = operator.inputs[source]
            filters[tensor] = filters.get(tensor, 0) + squares.sum(axis=(0, 1, 2))
    normed = {norm.source for norm in classes.norms}
    weights = {}
    for tensor in classes.tensors:
        stats = statistics.get(graph.name(tensor))
        if stats is None or not stats.largest.any():
            continue
        squares = np.maximum(stats.variance, 1e-12 + 1e-8 * stats.variance.max())
        weight = 1 / squares if tensor in normed else np.ones(len(squares))
        weight = filters.get(tensor, weight)
        weights[graph.name(tensor)] = np.maximum(weight, 1e-12 + 1e-8 * weight.max())
    return weights


def _apply(graph: Graph, classes: _ScaleClasses, scales: Mapping[int, Vector]) -> None:
    def replace(operator: Operator, slot: int, values: npt.NDArray[np.number]) -> None:
        name = f"{graph.name(operator.inputs[slot])}/equalized"
        operator.inputs[slot] = graph.add_constant(name, values.astype(np.float32))

    for operator in graph.operators:
        if not absorbs(graph, operator):
            continue
        slot, bias, source = _convolution_slots(graph, operator)
        target = scales[operator.outputs[0]]
        filters = graph.constant(operator.inputs[slot]).astype(np.float64)
        filters = filters * target[:, None, None, None] / scales[operator.inputs[source]]
        replace(operator, slot, filters)
        if bias is not None:
            replace(operator, bias, graph.constant(operator.inputs[bias]) * target)
    for operator, slot in classes.added:
        scale = scales[operator.outputs[0]]
        replace(operator, slot, graph.constant(operator.inputs[slot]) * scale)
    for norm in classes.norms:
        ends = scales[norm.source], scales[norm.target]
        for use in norm.constants:
            factor = _power(ends, use.powers.source, use.powers.target)
            values = graph.constant(use.operator.inputs[use.slot]) * factor
            rank = len(graph.tensors[use.operator.outputs[0]].shape)
            replace(use.operator, use.slot, values.reshape((1,) * (rank - 1) + (-1,)))
