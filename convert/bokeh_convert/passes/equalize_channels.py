"""Equalizes the ranges of channels, so that one scale per tensor fits all of them.

An activation has one scale for all its channels in int8; a channel with a tenth of the largest
range has a tenth of the levels. Multiplying a channel by a factor, and the filters that read it by
the inverse, does not change what the network computes (cross-layer equalization; Nagel et al.,
2019, arXiv:1906.04721). Factors pass through what is homogeneous: leaky ReLU, pooling,
concatenation and sums, whose operands then have the same factor. Normalizations absorb them:
`bokeh_convert.passes.norm_scaling`.

The factors minimize the sum over the tensors of the rounding error in dB. The paper balances pairs
of layers instead, which does not apply here: its weights have one scale per tensor, ours one per
channel.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from bokeh_convert.graph.editor import Graph
from bokeh_convert.graph.schema_views import Op, Operator, TensorType
from bokeh_convert.passes.norm_scaling import ScalableNorm, find_scalable_norms

Vector = npt.NDArray[np.float64]

_STEPS, _RATE, _NORM = 600, 0.05, 12.0
_SMALLEST_RANGE = 1e-4
"""Of the largest range of the tensor: channels with less are treated as having it."""


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


class _ScaleClasses:
    """Groups channels of tensors that must have the same factor (a union-find structure)."""

    PINNED = 0
    """Class of the channels whose factor is 1."""

    def __init__(self, graph: Graph, pinned: Collection[str]) -> None:
        self._graph = graph
        self._parents = [0]
        self._offsets: dict[int, int] = {}
        self.norms: list[ScalableNorm] = find_scalable_norms(graph)
        inside = {id(operator) for norm in self.norms for operator in norm.operators}
        for norm in self.norms:
            if not norm.scales_target:
                self._pin(norm.target)
        self.added: list[tuple[Operator, int]] = []
        """Constants that are added to a tensor, by operator and slot."""
        for operator in graph.operators:
            if id(operator) not in inside:
                self._connect(operator)
        named = [tensor for tensor in self._offsets if graph.name(tensor) in pinned]
        for tensor in (*graph.inputs, *graph.outputs, *named):
            self._pin(tensor)

    @property
    def tensors(self) -> list[int]:
        return list(self._offsets)

    @property
    def count(self) -> int:
        return len(self._parents)

    def roots(self, tensor: int) -> npt.NDArray[np.int64]:
        """Returns the class of each channel."""
        begin = self._slot(tensor)
        return np.array([self._root(begin + i) for i in range(self._channels(tensor))], np.int64)

    def _connect(self, operator: Operator) -> None:
        graph, opcode = self._graph, self._graph.opcode(operator)
        variable = [i for i in operator.inputs if i >= 0 and not graph.is_constant(i)]
        target = operator.outputs[0]
        if absorbs(graph, operator):
            for tensor in (*variable, target):
                self._slot(tensor)
        elif (
            opcode in _HOMOGENEOUS
            and graph.fused_activation(operator) in _HOMOGENEOUS_ACTIVATIONS
            and self._same_channels(variable, target)
        ):
            self._tie(variable[0], target)
        elif opcode == Op.CONCATENATION and _axis(graph, operator) == 3 and _plain(graph, operator):
            begin = 0
            for tensor in operator.inputs:
                self._tie(tensor, target, begin)
                begin += self._channels(tensor)
        elif (
            opcode in (Op.ADD, Op.SUB)
            and graph.fused_activation(operator) in _HOMOGENEOUS_ACTIVATIONS
            and self._same_channels(variable, target)
        ):
            for tensor in variable:
                self._tie(tensor, target)
            constants = [s for s, i in enumerate(operator.inputs) if graph.is_constant(i)]
            self.added += [(operator, slot) for slot in constants]
        else:
            for tensor in (*variable, *operator.outputs):
                self._pin(tensor)

    def _same_channels(self, tensors: list[int], target: int) -> bool:
        shapes = [list(self._graph.tensors[tensor].shape) for tensor in (*tensors, target)]
        return all(len(shape) == 4 and shape[-1] == shapes[-1][-1] for shape in shapes)

    def _channels(self, tensor: int) -> int:
        shape = self._graph.tensors[tensor].shape
        return shape[-1] if len(shape) else 1

    def _slot(self, tensor: int) -> int:
        if tensor not in self._offsets:
            self._offsets[tensor] = len(self._parents)
            count = self._channels(tensor)
            self._parents += range(len(self._parents), len(self._parents) + count)
            if self._graph.tensors[tensor].type != TensorType.FLOAT32:
                self._pin(tensor)
        return self._offsets[tensor]

    def _root(self, slot: int) -> int:
        while self._parents[slot] != slot:
            self._parents[slot] = self._parents[self._parents[slot]]
            slot = self._parents[slot]
        return slot

    def _join(self, first: int, second: int) -> None:
        low, high = sorted((self._root(first), self._root(second)))
        self._parents[high] = low

    def _tie(self, tensor: int, target: int, begin: int = 0) -> None:
        first, second = self._slot(tensor), self._slot(target) + begin
        for channel in range(self._channels(tensor)):
            self._join(first + channel, second + channel)

    def _pin(self, tensor: int) -> None:
        begin = self._slot(tensor)
        for channel in range(self._channels(tensor)):
            self._join(begin + channel, self.PINNED)


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
        # Filters of a grouped convolution see some of the channels.
        and graph.tensors[operator.inputs[filters]].shape[-1]
        == graph.tensors[operator.inputs[source]].shape[-1]
    )


def _convolution_slots(graph: Graph, operator: Operator) -> tuple[int, int | None, int]:
    """Returns the slots of filters, bias (None if there is none) and input."""
    transposed = graph.opcode(operator) == Op.TRANSPOSE_CONV
    bias, source = (3, 2) if transposed else (2, 0)
    has_bias = len(operator.inputs) > bias and operator.inputs[bias] >= 0
    return 1, bias if has_bias else None, source


def _plain(graph: Graph, operator: Operator) -> bool:
    return not graph.has_fused_activation(operator) and not any(
        graph.is_constant(i) for i in operator.inputs
    )


def _axis(graph: Graph, operator: Operator) -> int:
    axis = cast(schema.ConcatenationOptionsT, operator.builtinOptions).axis
    return int(axis % len(graph.tensors[operator.outputs[0]].shape))


def _solve(
    graph: Graph, classes: _ScaleClasses, statistics: Mapping[str, ChannelStatistics]
) -> Vector:
    """Returns the natural logarithm of each class's factor.

    The rounding error of a tensor is proportional to its largest scaled channel; in channel c it
    shrinks by the factor of c. So its error, over what it is worth, is
    `max(r f)^2 * sum(w / f^2)`, with ranges r, factors f and weights w of the channels. The
    maximum is smoothed (a 12-norm), and Adam minimizes the sum of the logarithms.
    """
    weights = _weights(graph, classes, statistics)
    tensors = {graph.name(t): t for t in classes.tensors}
    quantized = [(tensors[name], statistics[name], weights[name]) for name in weights]
    result = np.zeros(classes.count)
    if not quantized:
        return result
    sizes = [len(weight) for _, _, weight in quantized]
    segment = np.repeat(np.arange(len(quantized)), sizes)
    ranges = np.log(np.concatenate([_floored(stats.largest) for _, stats, _ in quantized]))
    weight = np.concatenate([weight / weight.sum() for _, _, weight in quantized])
    members = np.concatenate([classes.roots(tensor) for tensor, _, _ in quantized])
    roots, member = np.unique(members, return_inverse=True)
    logs, free = np.zeros(len(roots)), roots != classes.PINNED
    first, second = np.zeros_like(logs), np.zeros_like(logs)
    for step in range(1, _STEPS + 1):
        own = logs[member]
        powers = _NORM * (ranges + own)
        top = np.full(len(quantized), -np.inf)
        np.maximum.at(top, segment, powers)
        shares = np.exp(powers - top[segment])
        shares /= np.bincount(segment, shares)[segment]
        errors = weight * np.exp(-2 * own)
        errors /= np.bincount(segment, errors)[segment]
        gradient = np.bincount(member, 2 * shares - 2 * errors, len(roots)) * free
        first = 0.9 * first + 0.1 * gradient
        second = 0.99 * second + 0.01 * gradient**2
        slope = first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.99**step)) + 1e-9)
        logs -= _RATE * (1 - (step - 1) / _STEPS) * slope
    result[roots] = logs
    return result


def _floored(ranges: Vector) -> Vector:
    return np.maximum(ranges, max(_SMALLEST_RANGE * ranges.max(), 1e-12))


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
