"""Removes the rounding of a network that was trained for int8, and keeps the ranges it had.

The converter writes the fake quantization of a float network as QUANTIZE and DEQUANTIZE. Files in
float need none of it; int8 files round by themselves, in the ranges that the training chose.
"""

from __future__ import annotations

from bokeh_convert.graph.editor import Graph
from bokeh_convert.graph.schema_views import Op, Operator, TensorType

_LEVELS = {TensorType.INT8: (-128, 127), TensorType.UINT8: (0, 255)}

Range = tuple[float, float]


def remove_fake_quantization(graph: Graph) -> dict[str, Range]:
    """Connects the readers of rounded tensors, weights among them, to those before the rounding.

    Args:
        graph: Edited in place.

    Returns:
        (minimum, maximum) of each activation that was rounded, by its name.
    """
    makers = {operator.outputs[0]: operator for operator in graph.operators}
    ranges: dict[str, Range] = {}
    replaced: dict[int, int] = {}
    for operator in graph.operators:
        maker = makers.get(operator.inputs[0]) if operator.inputs else None
        if graph.opcode(operator) != Op.DEQUANTIZE or maker is None:
            continue
        source, found = maker.inputs[0], _range(graph, operator)
        if found is None or graph.tensors[source].type != TensorType.FLOAT32:
            continue
        if not graph.is_constant(source):
            ranges[graph.name(source)] = found
        replaced[operator.outputs[0]] = source
    if not replaced:
        return {}
    for operator in graph.operators:
        operator.inputs = [replaced.get(tensor, tensor) for tensor in operator.inputs]
    graph.set_inputs_outputs(graph.inputs, [replaced.get(i, i) for i in graph.outputs])
    graph.remove_unused()
    return ranges


def _range(graph: Graph, operator: Operator) -> Range | None:
    """Returns what a DEQUANTIZE can give; None if its input is not in int8 or uint8."""
    stored = graph.tensors[operator.inputs[0]]
    levels, quantization = _LEVELS.get(stored.type), stored.quantization
    if levels is None or quantization is None:
        return None
    assert quantization.scale is not None
    assert quantization.zeroPoint is not None
    scale, zero = quantization.scale[0], quantization.zeroPoint[0]
    low, high = ((level - zero) * scale for level in levels)
    return float(low), float(high)
