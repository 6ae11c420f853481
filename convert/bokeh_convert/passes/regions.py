"""Groups of operators that are rewritten or scaled together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from bokeh_convert.graph.editor import Graph
from bokeh_convert.graph.schema_views import Op, Operator


def before_reshapes(graph: Graph, producers: Mapping[int, Operator], tensor: int) -> int:
    """Returns the tensor that RESHAPEs alone make a tensor from."""
    while tensor in producers and graph.opcode(producers[tensor]) == Op.RESHAPE:
        tensor = producers[tensor].inputs[0]
    return tensor


def needed_for(region: Sequence[Operator], target: int) -> list[Operator]:
    """Returns those of the operators that a tensor depends on."""
    needed, kept = {target}, []
    for operator in reversed(region):
        if operator.outputs[0] in needed:
            needed |= set(operator.inputs)
            kept.append(operator)
    return kept[::-1]


def seen_outside(graph: Graph, operators: Iterable[Operator], tensors: Iterable[int]) -> bool:
    """Returns whether anything but the operators reads one of the tensors, or the graph gives it.

    The values of such a tensor must stay what they are.
    """
    inside, readers = {id(operator) for operator in operators}, graph.consumers()
    return any(
        tensor in graph.outputs or any(id(one) not in inside for one in readers.get(tensor, ()))
        for tensor in tensors
    )
