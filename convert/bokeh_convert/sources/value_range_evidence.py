"""What a TensorFlow graph itself says of the value ranges that it was trained on.

A network that starts with Rescaling(1/255) takes 0..255, one that ends in tanh gives -1..1. This
module reads such evidence from the operators next to the input and next to the output.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.framework.node_def_pb2 import NodeDef
from tensorflow.python.framework import dtypes, tensor_util

from bokeh_runtime.tflite.value_range import BYTES, SIGNED, UNIT, ValueRange, nearest_standard

_AFFINE = {"Mul", "AddV2", "Add", "BiasAdd", "Sub", "RealDiv", "Div"}
_SAME_VALUES = {
    "Round",
    "Identity",
    "StopGradient",
    "Reshape",
    "Squeeze",
    "ExpandDims",
    "Transpose",
    "Pad",
    "PadV2",
    "MirrorPad",
    "DepthToSpace",
    "SpaceToDepth",
    "FakeQuantWithMinMaxVars",
    "ResizeBilinear",
    "ResizeNearestNeighbor",
}
_CLIPS = {"Minimum", "Maximum", "ClipByValue"}
_ACTIVATIONS = {"Tanh": SIGNED, "Sigmoid": UNIT, "HardSigmoid": UNIT}
_MOST_STEPS = 12


@dataclass(frozen=True)
class Evidence:
    """A value range, and what shows it.

    Attributes:
        value_range: The range.
        reason: What in the graph shows it, to stand after "because".
    """

    value_range: ValueRange
    reason: str


@dataclass(frozen=True)
class _Affine:
    """y = scale * x + offset, for each channel."""

    scale: npt.NDArray[np.float64]
    offset: npt.NDArray[np.float64]

    def then(self, operator: str, constant: npt.NDArray[np.float64], *, first: bool) -> _Affine:
        """Appends an operator. `first`: the constant is its first operand."""
        match operator:
            case "Mul":
                return _Affine(self.scale * constant, self.offset * constant)
            case "RealDiv" | "Div" if not first:
                return _Affine(self.scale / constant, self.offset / constant)
            case "Sub" if first:
                return _Affine(-self.scale, constant - self.offset)
            case "Sub":
                return _Affine(self.scale, self.offset - constant)
            case _:
                return _Affine(self.scale, self.offset + constant)


def _identity() -> _Affine:
    return _Affine(np.ones(1), np.zeros(1))


class Graph:
    """A frozen graph of one input and one output, as a map of its nodes.

    Args:
        graph: Whose variables are constants.
        input_name: Of the placeholder.
        output_name: Of the node that gives the output.
    """

    def __init__(self, graph: GraphDef, input_name: str, output_name: str) -> None:
        self.nodes: Mapping[str, NodeDef] = {node.name: node for node in graph.node}
        self.readers: dict[str, list[NodeDef]] = {}
        for node in graph.node:
            for name in self.operands(node):
                self.readers.setdefault(name, []).append(node)
        self.input_name, self.output_name = input_name, output_name

    @staticmethod
    def operands(node: NodeDef) -> Sequence[str]:
        """Returns the names of the nodes that a node reads."""
        return [name.partition(":")[0] for name in node.input if not name.startswith("^")]

    def constant(self, name: str) -> npt.NDArray[np.float64] | None:
        """Returns the values of a constant, flat if it has one for each channel; else None."""
        node = self.nodes[name]
        while node.op in ("Identity", "Cast") and len(self.operands(node)) == 1:
            node = self.nodes[self.operands(node)[0]]
        if node.op != "Const":
            return None
        values = np.asarray(tensor_util.MakeNdarray(node.attr["value"].tensor))
        if values.dtype.kind not in "fiu" or values.size not in (1, 3, 4):
            return None
        return values.astype(np.float64).ravel()


def input_evidence(graph: Graph) -> Evidence | None:
    """Returns what the first operators say of the input's range; None if they say nothing."""
    found = [
        Evidence(value_range, _formula(affine)) if value_range is not None else None
        for affine, value_range in (
            (
                affine,
                _range_that_is_bytes(affine) if kind == "uint8" else _range_normalized_by(affine),
            )
            for affine, kind in _first_operators(graph, graph.input_name, _identity(), _MOST_STEPS)
        )
    ]
    certain = [one for one in found if one is not None]
    if not certain or len({one.value_range for one in certain}) > 1:
        return None
    # A division by 255 is never by chance; other forms count if all of the input goes that way.
    if certain[0].value_range == BYTES or len(certain) == len(found):
        return certain[0]
    return None


def _formula(affine: _Affine) -> str:
    scale, offset = _mean(affine.scale), _mean(affine.offset)
    return f"its first operators compute x * {scale:.4g} {offset:+.4g}"


def _range_that_is_bytes(affine: _Affine) -> ValueRange | None:
    """Returns the range that an affine function brings to 0..255, before a cast to uint8."""
    for candidate in (BYTES, UNIT, SIGNED):
        if _reached(affine, candidate) == BYTES:
            return candidate
    return None


def _reached(affine: _Affine, candidate: ValueRange) -> ValueRange | None:
    """Returns the standard range that every channel of a range is brought to."""
    found = set()
    for scale, offset in zip(*np.broadcast_arrays(affine.scale, affine.offset), strict=True):
        black, white = scale * candidate.low + offset, scale * candidate.high + offset
        if not black < white:
            return None
        found.add(nearest_standard(ValueRange(float(black), float(white))))
    return found.pop() if len(found) == 1 else None


def _first_operators(
    graph: Graph, name: str, affine: _Affine, steps: int
) -> Iterator[tuple[_Affine, str]]:
    """Yields what is computed of the input alone, on each path as far as it stays affine."""
    return _paths(graph, graph.readers.get(name, []) if steps else [], name, affine, steps)


def _paths(
    graph: Graph, readers: Sequence[NodeDef], name: str, affine: _Affine, steps: int
) -> Iterator[tuple[_Affine, str]]:
    ends = False
    for node in readers:
        operands = graph.operands(node)
        if node.op == "Cast":
            if node.attr["DstT"].type == dtypes.uint8.as_datatype_enum:
                yield affine, "uint8"
            else:
                yield from _first_operators(graph, node.name, affine, steps - 1)
        elif node.op in ("Split", "SplitV"):
            # The photo is the first part where photo and depth map are two inputs.
            photo = {node.name, f"{node.name}:0"}
            readers = [one for one in graph.readers.get(node.name, []) if photo & set(one.input)]
            yield from _paths(graph, readers, node.name, affine, steps - 1)
        elif node.op in _SAME_VALUES and operands[0] == name:
            yield from _first_operators(graph, node.name, affine, steps - 1)
        elif node.op in _AFFINE and len(operands) == 2:
            first = operands[1] == name
            constant = graph.constant(operands[0 if first else 1])
            if constant is None:
                ends = True
            else:
                following = affine.then(node.op, constant, first=first)
                yield from _first_operators(graph, node.name, following, steps - 1)
        else:
            ends = True
    if ends:
        yield affine, "affine"


def _range_normalized_by(affine: _Affine) -> ValueRange | None:
    """Returns the range that an affine function brings to about zero mean or to 0..1.

    The usual forms: x / 255 and x / 127.5 - 1 (0..255), 2 x - 1 (0..1), (x + 1) / 2 (-1..1), and
    (x - mean) / deviation with the mean and the deviation of photos in 0..1 or in 0..255.
    """
    if np.any(affine.scale <= 0):
        return None
    low = _mean(affine.offset)
    for candidate in (BYTES, UNIT, SIGNED):
        black = _mean(affine.scale) * candidate.low + low
        white = _mean(affine.scale) * candidate.high + low
        reached = _reached(affine, candidate)
        if candidate != reached and reached in (UNIT, SIGNED):
            return candidate
        if candidate == UNIT and abs(black + 0.5) < 0.05 and abs(white - 0.5) < 0.05:
            return candidate
        # Standardized photos: deviations of 0.15 to 0.35 of the whole range are usual.
        if candidate != SIGNED and black < -1 and white > 1 and 2.8 < white - black < 7:
            return candidate
    return None


def output_evidence(graph: Graph) -> Evidence | None:
    """Returns what the last operators say of the output's range; None if they say nothing."""
    name, affine = graph.output_name, _identity()
    bounds = _Bounds()
    for _ in range(_MOST_STEPS):
        node = graph.nodes[name]
        operands = graph.operands(node)
        if node.op in _ACTIVATIONS:
            own = _ACTIVATIONS[node.op]
            reached = (
                _mean(affine.scale) * end + _mean(affine.offset) for end in (own.low, own.high)
            )
            bounds = bounds.within(*sorted(reached))
            return _standard(bounds, f"it ends in {node.op.lower()}")
        clips = _clips(graph, node, affine)
        if clips:
            for operator, limit in clips:
                bounds = bounds.clipped(operator, limit)
            if bounds.complete:
                return _standard(bounds, f"it ends in {node.op.lower()}")
            name = operands[0]
        elif node.op in _SAME_VALUES or node.op == "Cast":
            name = operands[0]
        elif node.op in _AFFINE and len(operands) == 2:
            constants = [graph.constant(operand) for operand in operands]
            if (constants[0] is None) == (constants[1] is None):
                return None
            first = constants[0] is not None
            constant = constants[0] if first else constants[1]
            assert constant is not None
            # The operator stands before what was read so far.
            inner = _identity().then(node.op, constant, first=first)
            affine = _Affine(
                affine.scale * inner.scale, affine.scale * inner.offset + affine.offset
            )
            name = operands[1] if first else operands[0]
        else:
            return None
    return None


def _clips(graph: Graph, node: NodeDef, affine: _Affine) -> list[tuple[str, float]]:
    """Returns the limits that an operator sets, as minimum and maximum of the output."""
    constants = {"Relu": [0.0], "Relu6": [0.0, 6.0]}.get(node.op, [])
    if node.op in _CLIPS:
        found = [graph.constant(operand) for operand in graph.operands(node)[1:]]
        if any(one is None for one in found):
            return []
        constants = [_mean(one) for one in found if one is not None]
    if not constants or _mean(affine.scale) <= 0:
        return []
    operators = ["Minimum"] if node.op == "Minimum" else ["Maximum", "Minimum"]
    limits = [_mean(affine.scale) * one + _mean(affine.offset) for one in constants]
    return list(zip(operators, limits, strict=False))


@dataclass(frozen=True)
class _Bounds:
    """The ends of a range as far as they are known."""

    low: float = -np.inf
    high: float = np.inf

    @property
    def complete(self) -> bool:
        return bool(np.isfinite(self.low) and np.isfinite(self.high))

    def within(self, low: float, high: float) -> _Bounds:
        return _Bounds(max(self.low, low), min(self.high, high))

    def clipped(self, operator: str, limit: float) -> _Bounds:
        if operator == "Minimum":
            return replace(self, high=min(self.high, limit))
        return replace(self, low=max(self.low, limit))


def _standard(bounds: _Bounds, reason: str) -> Evidence | None:
    """Returns the standard range that the bounds are near to.

    None for others: a clip to 0..6 or -1..2 only guards against outliers.
    """
    if not bounds.low < bounds.high:
        return None
    found = ValueRange(float(bounds.low), float(bounds.high))
    standard = nearest_standard(found)
    if standard is None:
        return None
    if standard == found:
        return Evidence(found, reason)
    return Evidence(standard, f"{reason} ({found})")


def _mean(values: npt.NDArray[np.float64]) -> float:
    return float(np.mean(values))
