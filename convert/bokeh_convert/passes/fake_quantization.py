"""Removes the rounding of a network that was trained for int8, and keeps the ranges it had.

The converter writes the fake quantization of a float network as QUANTIZE and DEQUANTIZE. Files in
float do without the rounding, but the network has learned that values outside of a range are
clipped. int8 files do both by themselves, in the ranges that the training chose.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from bokeh_convert.graph.editor import Graph
from bokeh_convert.graph.schema_views import Op, Operator, TensorType

_LEVELS = {TensorType.INT8: (-128, 127), TensorType.UINT8: (0, 255)}

_WITHIN_ITS_INPUTS = (
    Op.AVERAGE_POOL_2D, Op.CONCATENATION, Op.DEPTH_TO_SPACE, Op.MAX_POOL_2D, Op.MEAN, Op.RESHAPE,
    Op.RESIZE_BILINEAR, Op.RESIZE_NEAREST_NEIGHBOR, Op.SLICE, Op.SPACE_TO_DEPTH, Op.SPLIT,
    Op.STRIDED_SLICE, Op.TRANSPOSE,
)  # fmt: skip
"""Operators whose output is in the range of their inputs. The converter rounds it likewise."""
_TOLERANCE = 1e-6
"""As a share of a range."""

Range = tuple[float, float]
_Ends = npt.NDArray[np.float64]


def remove_fake_quantization(graph: Graph, *, clip: bool) -> dict[str, Range]:
    """Connects the readers of rounded tensors, weights among them, to those before the rounding.

    Args:
        graph: Edited in place.
        clip: Whether activations outside of a range are clipped, with MAXIMUM and MINIMUM. Weights
            always are.

    Returns:
        (minimum, maximum) of each activation that was rounded, by its name.
    """
    makers = graph.producers()
    ranges: dict[str, Range] = {}
    replaced: dict[int, int] = {}
    clipped: dict[tuple[int, Range], int] = {}
    known: dict[int, Range] = {}
    operators: list[Operator] = []
    for operator in graph.operators:
        operators.append(operator)
        maker = makers.get(operator.inputs[0]) if operator.inputs else None
        if graph.opcode(operator) != Op.DEQUANTIZE or maker is None:
            continue
        source, ends = maker.inputs[0], _ends(graph, operator)
        if ends is None or graph.tensors[source].type != TensorType.FLOAT32:
            continue
        target = source
        if graph.is_constant(source):
            values = np.clip(graph.constant(source), *ends)
            target = graph.add_constant(f"{graph.name(source)}/clipped", values.astype(np.float32))
        elif ends[0].size == 1:
            found = float(ends[0].item()), float(ends[1].item())
            ranges[graph.name(source)] = found
            known[operator.outputs[0]] = found
            needed = clip and not _is_within(_output_range(graph, makers.get(source), known), found)
            if needed and (source, found) not in clipped:
                added = _clipping(graph, source, found)
                operators += added
                clipped[source, found] = added[-1].outputs[0]
            target = clipped.get((source, found), source)
        else:
            continue
        replaced[operator.outputs[0]] = target
    if not replaced:
        return {}
    for operator in operators:
        operator.inputs = [replaced.get(tensor, tensor) for tensor in operator.inputs]
    graph.operators = operators
    graph.set_inputs_outputs(graph.inputs, [replaced.get(i, i) for i in graph.outputs])
    graph.remove_unused()
    return ranges


def _clipping(graph: Graph, source: int, found: Range) -> list[Operator]:
    made: list[Operator] = []
    for opcode, side, end in ((Op.MAXIMUM, "low", found[0]), (Op.MINIMUM, "high", found[1])):
        name = f"{graph.name(source)}/clipped_{side}"
        limit = graph.add_constant(f"{name}/limit", np.array(end, np.float32))
        shape = list(graph.tensors[source].shape)
        before = made[-1].outputs[0] if made else source
        target = graph.add_tensor(name, TensorType.FLOAT32, shape)
        options = schema.MaximumMinimumOptionsT()
        made.append(graph.new_operator(opcode, [before, limit], [target], options))
    return made


def _output_range(
    graph: Graph, operator: Operator | None, known: Mapping[int, Range]
) -> Range | None:
    """Returns the range that an operator's output must lie in; None if that is not known."""
    if operator is None or graph.has_fused_activation(operator):
        return None
    opcode = graph.opcode(operator)
    if opcode in _WITHIN_ITS_INPUTS:
        inputs = {known.get(i) for i in operator.inputs if not graph.is_constant(i)}
        found = inputs.pop() if len(inputs) == 1 else None
        constants = (_constant_range(graph, i) for i in operator.inputs if graph.is_constant(i))
        fits = found and all(one is None or _is_within(one, found) for one in constants)
        return found if fits else None
    found = known.get(operator.inputs[0])
    if found is None or opcode not in (Op.RELU, Op.LEAKY_RELU):
        return None
    options = cast(schema.LeakyReluOptionsT, operator.builtinOptions)
    slope = float(options.alpha) if opcode == Op.LEAKY_RELU else 0.0
    low, high = (end if end > 0 else end * slope for end in found)
    return low, high


def _constant_range(graph: Graph, tensor: int) -> Range | None:
    """Returns the lowest and highest value of a constant; None if it is a list of axes or sizes."""
    if graph.tensors[tensor].type != TensorType.FLOAT32:
        return None
    values = graph.constant(tensor)
    return float(values.min()), float(values.max())


def _is_within(inner: Range | None, outer: Range) -> bool:
    margin = _TOLERANCE * (outer[1] - outer[0])
    return inner is not None and outer[0] - margin <= inner[0] and inner[1] <= outer[1] + margin


def _ends(graph: Graph, operator: Operator) -> tuple[_Ends, _Ends] | None:
    """Returns the lowest and highest values that a DEQUANTIZE can give.

    Scalars, or arrays that fit its channels. None if its input is not in int8 or uint8.
    """
    stored = graph.tensors[operator.inputs[0]]
    levels, quantization = _LEVELS.get(stored.type), stored.quantization
    if levels is None or quantization is None:
        return None
    scales = np.asarray(quantization.scale, np.float64)
    zeros = np.asarray(quantization.zeroPoint, np.float64)
    if scales.size > 1:
        shape = [1] * len(stored.shape)
        shape[quantization.quantizedDimension] = -1
        scales, zeros = scales.reshape(shape), zeros.reshape(shape)
    low, high = ((level - zeros) * scales for level in levels)
    return low, high
