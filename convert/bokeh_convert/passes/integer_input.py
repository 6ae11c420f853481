"""Removes the conversion of a float input to integers and back.

A network with a uint8 input is traced with a float input that is rounded and cast. No GPU delegate
takes those operators, and a photo's values are integers or close to them anyway.
"""

from __future__ import annotations

from bokeh_convert.graph.editor import Graph
from bokeh_convert.graph.schema_views import Op, Operator, TensorType

_CONVERSIONS = (Op.ROUND, Op.CAST, Op.CAST)


def remove_integer_input(graph: Graph) -> int:
    """Connects the network's input to what follows ROUND, CAST to integers and CAST to float.

    The result differs from the graph's only for inputs that are not integers, by rounding.

    Args:
        graph: Edited in place.

    Returns:
        The number of inputs that were changed: 0 or 1.
    """
    (tensor,) = graph.inputs
    removed: list[Operator] = []
    types = []
    while len(removed) < len(_CONVERSIONS):
        readers = [operator for operator in graph.operators if tensor in operator.inputs]
        if len(readers) != 1 or graph.opcode(readers[0]) != _CONVERSIONS[len(removed)]:
            return 0
        removed.append(readers[0])
        tensor = int(readers[0].outputs[0])
        types.append(graph.tensors[tensor].type)
    if types[1:] != [TensorType.UINT8, TensorType.FLOAT32]:
        return 0
    graph.operators = [operator for operator in graph.operators if operator not in removed]
    for operator in graph.operators:
        operator.inputs = [graph.inputs[0] if i == tensor else int(i) for i in operator.inputs]
    graph.remove_unused()
    return 1
