"""Which operators a .tflite file holds."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ai_edge_litert import schema_py_generated as schema

_NAMES = {
    value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)
}

_TYPES = {value: name for name, value in vars(schema.TensorType).items() if isinstance(value, int)}


@dataclass(frozen=True)
class Operator:
    """One operator of a file.

    Attributes:
        name: Such as "CONV_2D".
        types: Types of the values that it reads and makes, constants left out: "float32", "int8".
        constant_types: Types of its constants.
        most_dimensions: Of any tensor that it touches.
    """

    name: str
    types: tuple[str, ...]
    constant_types: tuple[str, ...]
    most_dimensions: int


def count_operators(content: bytes) -> dict[str, int]:
    """Returns how often each operator stands in the file, most frequent first."""
    return dict(Counter(name for name, _, _ in _operators(content)).most_common())


def float_operators(content: bytes) -> set[str]:
    """Returns the names of the operators that read or write float values."""
    floats = (schema.TensorType.FLOAT32, schema.TensorType.FLOAT16)
    return {
        name
        for name, graph, operator in _operators(content)
        if any(graph.Tensors(i).Type() in floats for i in _tensors(operator))
    }


def multiply_accumulates(content: bytes) -> int:
    """Returns how many multiplications the convolutions of the file take for one picture."""
    total = 0
    for name, graph, operator in _operators(content):
        if name == "CONV_2D":
            _, rows, columns, depth = _shape(graph, operator.Inputs(1))  # filter: first is output
            pixels = math.prod(_shape(graph, operator.Outputs(0)))
            total += pixels * rows * columns * depth
        elif name == "TRANSPOSE_CONV":
            filters, rows, columns, _ = _shape(graph, operator.Inputs(1))
            total += math.prod(_shape(graph, operator.Inputs(2))) * filters * rows * columns
    return total


def read_operators(content: bytes) -> list[Operator]:
    """Returns the operators of a file, in the order in which they run."""
    model = schema.Model.GetRootAs(content)
    found = []
    for name, graph, operator in _operators(content):
        types: dict[bool, list[str]] = {False: [], True: []}
        for index in _tensors(operator):
            tensor = graph.Tensors(index)
            constant = model.Buffers(tensor.Buffer()).DataLength() > 0
            types[constant].append(_TYPES[tensor.Type()].lower())
        dimensions = max((len(_shape(graph, index)) for index in _tensors(operator)), default=0)
        found.append(Operator(name, tuple(types[False]), tuple(types[True]), dimensions))
    return found


def _operators(content: bytes) -> Iterator[tuple[str, Any, Any]]:
    """Yields name, subgraph and operator."""
    model = schema.Model.GetRootAs(content)
    for g in range(model.SubgraphsLength()):
        graph = model.Subgraphs(g)
        for i in range(graph.OperatorsLength()):
            operator = graph.Operators(i)
            code = model.OperatorCodes(operator.OpcodeIndex())
            # Old files keep the code in the first field, new ones in the second.
            number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
            yield _NAMES.get(number, str(number)), graph, operator


def _tensors(operator: Any) -> Iterator[int]:
    for i in range(operator.InputsLength()):
        if operator.Inputs(i) >= 0:  # -1 is an optional input left out
            yield operator.Inputs(i)
    for i in range(operator.OutputsLength()):
        yield operator.Outputs(i)


def _shape(graph: Any, tensor: int) -> list[int]:
    described = graph.Tensors(tensor)
    return [described.Shape(i) for i in range(described.ShapeLength())]
