"""Finds normalizations whose result does not change if a channel of their input is scaled.

Such a normalization is any group of operators that cancels the scale of its input: instance norm as
trained models, TensorFlow and `bokeh_convert.passes.instance_norm` write it. If channel c of the
input is multiplied by s[c], its tensors are multiplied by powers of s[c], and constants that are
added have to be multiplied by the same power: the epsilon by s[c] squared. The channels of the
output can be scaled, too, by a factor in the constant that multiplies them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bokeh_convert.graph.editor import Graph
from bokeh_convert.graph.schema_views import Op, Operator
from bokeh_convert.passes.regions import needed_for, seen_outside

MAX_OPERATORS = 32
"""Operators of one normalization at most."""


class Powers(NamedTuple):
    """A tensor is multiplied by `source_scale ** source * target_scale ** target`."""

    source: float
    target: float

    def __add__(self, other: object) -> Powers:
        assert isinstance(other, Powers)
        return Powers(self.source + other.source, self.target + other.target)

    def times(self, factor: float) -> Powers:
        return Powers(self.source * factor, self.target * factor)


class ConstantUse(NamedTuple):
    """A constant that an operator reads, and the powers by which it is multiplied."""

    operator: Operator
    slot: int
    powers: Powers


@dataclass(frozen=True)
class ScalableNorm:
    """A normalization.

    Attributes:
        source, target: Tensors of input and output, [1, height, width, channels].
        operators: The operators that compute it, in execution order.
        powers: By how much each of its tensors is multiplied.
        constants: The constants to multiply.
        scales_target: Whether the channels of the output can be scaled.
    """

    source: int
    target: int
    operators: Sequence[Operator]
    powers: Mapping[int, Powers]
    constants: Sequence[ConstantUse]
    scales_target: bool


_SAME_SCALE = (Op.MEAN, Op.SUM, Op.AVERAGE_POOL_2D, Op.RESHAPE)
_POWERS = {Op.SQUARE: 2.0, Op.SQRT: 0.5, Op.RSQRT: -0.5}
_SUMS = (Op.ADD, Op.SUB)
_SUPPORTED = (*_SAME_SCALE, *_POWERS, *_SUMS, Op.MUL, Op.DIV, Op.SQUARED_DIFFERENCE)
_UNSCALED = Powers(0, 0)


def find_scalable_norms(graph: Graph) -> list[ScalableNorm]:
    """Returns the normalizations of a float32 graph, in execution order."""
    sources = [op.inputs[0] for op in graph.operators if graph.opcode(op) in (Op.MEAN, Op.SUM)]
    readers = graph.consumers()
    found = (_find_from(graph, readers, source) for source in dict.fromkeys(sources))
    return [norm for norm in found if norm is not None]


def _find_from(
    graph: Graph, readers: Mapping[int, Sequence[Operator]], source: int
) -> ScalableNorm | None:
    shape = list(graph.tensors[source].shape)
    if len(shape) != 4:
        return None
    region = _region(graph, readers, source)
    scaled = _propagate(graph, region, source, None)
    target = next(
        (
            operator.outputs[0]
            for operator in region
            if scaled.get(operator.outputs[0]) == _UNSCALED
            and list(graph.tensors[operator.outputs[0]].shape) == shape
        ),
        None,
    )
    if target is None:
        return None
    operators = needed_for(region, target)
    inner = {operator.outputs[0] for operator in operators} - {target}
    if seen_outside(graph, operators, inner):
        return None
    factors = [op for op in operators if graph.opcode(op) == Op.MUL and _constants(graph, op)]
    for factor in (*factors, None):
        powers = _propagate(graph, operators, source, factor)
        wanted = _UNSCALED if factor is None else Powers(0, 1)
        if powers.get(target) == wanted:
            constants = _constant_uses(graph, operators, powers, factor)
            return ScalableNorm(source, target, operators, powers, constants, factor is not None)
    return None


def _region(graph: Graph, readers: Mapping[int, Sequence[Operator]], source: int) -> list[Operator]:
    """Returns supported operators that depend on a tensor and constants alone."""
    channels = graph.tensors[source].shape[-1]
    known, region, reached = {source}, list[Operator](), {id(op) for op in readers[source]}
    for operator in graph.operators:
        if id(operator) not in reached:
            continue
        (*_, shape) = (graph.tensors[out].shape for out in operator.outputs)
        if (
            graph.opcode(operator) in _SUPPORTED
            and not graph.has_fused_activation(operator)
            and all(i in known or graph.is_constant(i) for i in operator.inputs)
            and len(shape) > 0
            and shape[-1] == channels
        ):
            known.add(operator.outputs[0])
            region.append(operator)
            reached |= {id(reader) for reader in readers.get(operator.outputs[0], ())}
            if len(region) == MAX_OPERATORS:
                break
    return region


def _constants(graph: Graph, operator: Operator) -> list[int]:
    """Returns the slots of constant inputs."""
    return [slot for slot, tensor in enumerate(operator.inputs) if graph.is_constant(tensor)]


def _propagate(
    graph: Graph, operators: Sequence[Operator], source: int, factor: Operator | None
) -> dict[int, Powers]:
    """Returns the powers of the tensors that have one.

    Args:
        graph: The graph.
        operators: Supported operators, in execution order.
        source: The tensor that is multiplied by the scale of the input.
        factor: The MUL whose constant brings in the scale of the output.
    """
    powers = {source: Powers(1, 0)}
    for operator in operators:
        opcode = graph.opcode(operator)
        inputs = [powers.get(i) for i in operator.inputs if not graph.is_constant(i)]
        first, result = inputs[0], None
        if first is None or None in inputs:
            continue
        if opcode in _SAME_SCALE or (opcode == Op.MUL and len(inputs) == 1):
            result = first + (Powers(0, 1) if operator is factor else _UNSCALED)
        elif opcode in _POWERS:
            result = first.times(_POWERS[opcode])
        elif opcode in (*_SUMS, Op.SQUARED_DIFFERENCE):
            if all(other == first for other in inputs):
                result = first.times(2 if opcode == Op.SQUARED_DIFFERENCE else 1)
        elif opcode == Op.MUL:
            result = first + (inputs[1] or _UNSCALED)
        elif graph.is_constant(operator.inputs[0]):  # DIV of a constant
            result = first.times(-1)
        else:
            result = first + (inputs[1] if len(inputs) == 2 else _UNSCALED).times(-1)  # type: ignore[union-attr]
        if result is not None:
            powers[operator.outputs[0]] = result
    return powers


def _constant_uses(
    graph: Graph,
    operators: Sequence[Operator],
    powers: Mapping[int, Powers],
    factor: Operator | None,
) -> list[ConstantUse]:
    uses = []
    for operator in operators:
        opcode = graph.opcode(operator)
        for slot in _constants(graph, operator):
            if operator is factor:
                uses.append(ConstantUse(operator, slot, Powers(0, 1)))
            elif opcode in (*_SUMS, Op.SQUARED_DIFFERENCE):
                other = operator.inputs[1 - slot]
                uses.append(ConstantUse(operator, slot, powers[other]))
    return uses
