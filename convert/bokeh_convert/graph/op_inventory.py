"""Lists the operators of a .tflite file."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from bokeh_convert.graph.schema_views import (
    OP_NAMES,
    TENSOR_TYPE_NAMES,
    Model,
    Operator,
    SubGraph,
    TensorType,
    builtin_code,
    read_model,
    used_tensors,
)

SCALAR_INPUTS = {
    "CUMSUM": (1,),
    "FILL": (1,),
    "ONE_HOT": (1, 2, 3),
    "RANGE": (0, 1, 2),
    "SPLIT": (0,),
    "SPLIT_V": (2,),
}
"""Inputs that TFLite's definition of operators wants without dimensions, such as an axis.

LiteRT's kernels also take a list of one value there; other runtimes refuse the file.
"""


@dataclass(frozen=True)
class OperatorSummary:
    """One operator of a file.

    Attributes:
        name: Such as "CONV_2D".
        types: Types of its non-constant tensors, inputs first: "float32", "int8".
        constant_types: Types of its constants.
        max_rank: Largest number of dimensions of its tensors, constants included.
        list_for_scalar: Whether an input in `SCALAR_INPUTS` has dimensions.
    """

    name: str
    types: tuple[str, ...]
    constant_types: tuple[str, ...]
    max_rank: int
    list_for_scalar: bool = False


def count_operators(content: bytes) -> dict[str, int]:
    """Returns how often each operator occurs in the file, most frequent first."""
    return dict(Counter(name for name, _, _ in _operators(read_model(content))).most_common())


def float_operators(content: bytes) -> set[str]:
    """Returns the names of the operators that read or write float tensors."""
    floats = (TensorType.FLOAT32, TensorType.FLOAT16)
    return {
        name
        for name, graph, operator in _operators(read_model(content))
        if any(graph.tensors[i].type in floats for i in used_tensors(operator))
    }


def multiply_accumulates(content: bytes) -> int:
    """Returns the multiply-accumulates of the file's convolutions, for one inference."""
    total = 0
    for name, graph, operator in _operators(read_model(content)):
        shapes = [graph.tensors[i].shape if i >= 0 else [] for i in operator.inputs]
        if name == "CONV_2D":
            _, rows, columns, depth = shapes[1]  # filter [output channels, rows, columns, depth]
            total += math.prod(graph.tensors[operator.outputs[0]].shape) * rows * columns * depth
        elif name == "TRANSPOSE_CONV":
            filters, rows, columns, _ = shapes[1]
            total += math.prod(shapes[2]) * filters * rows * columns
    return total


def read_operators(content: bytes) -> list[OperatorSummary]:
    """Returns the operators of a file, in execution order."""
    model = read_model(content)
    found = []
    for name, graph, operator in _operators(model):
        types: dict[bool, list[str]] = {False: [], True: []}
        tensors = [graph.tensors[index] for index in used_tensors(operator)]
        for tensor in tensors:
            data = model.buffers[tensor.buffer].data
            constant = data is not None and len(data) > 0
            types[constant].append(TENSOR_TYPE_NAMES[tensor.type].lower())
        rank = max((len(tensor.shape) for tensor in tensors), default=0)
        scalars = (operator.inputs[slot] for slot in SCALAR_INPUTS.get(name, ()))
        listed = any(len(graph.tensors[index].shape) > 0 for index in scalars)
        found.append(OperatorSummary(name, tuple(types[False]), tuple(types[True]), rank, listed))
    return found


def _operators(model: Model) -> Iterator[tuple[str, SubGraph, Operator]]:
    """Yields name, subgraph and operator."""
    for graph in model.subgraphs:
        for operator in graph.operators:
            opcode = builtin_code(model.operatorCodes[operator.opcodeIndex])
            yield OP_NAMES.get(opcode, str(opcode)), graph, operator
