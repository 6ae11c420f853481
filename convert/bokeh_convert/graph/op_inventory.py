"""Lists the operators of a .tflite file."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from bokeh_convert.graph.schema_views import (
    OP_NAMES,
    TENSOR_TYPE_NAMES,
    Model,
    Operator,
    SubGraph,
    Tensor,
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

_EIGHT_BITS = {"int8", "uint8"}


@dataclass(frozen=True)
class OperatorSummary:
    """One operator of a file.

    Attributes:
        name: Such as "CONV_2D".
        types: Types of its non-constant tensors, inputs first: "float32", "int8".
        constant_types: Types of its constants.
        max_rank: Largest number of dimensions of its tensors, constants included.
        list_for_scalar: Whether an input in `SCALAR_INPUTS` has dimensions.
        is_constant: Whether all inputs are constants.
    """

    name: str
    types: tuple[str, ...]
    constant_types: tuple[str, ...]
    max_rank: int
    list_for_scalar: bool = False
    is_constant: bool = False

    @property
    def numbers(self) -> str:
        """What it computes with.

        "float32", "float16", "int8", "uint8" or "int16" by the smallest of its types, whose
        quantization or dequantization counts as such; "dynamic-range" for float activations with
        8-bit weights; "other" for integers and truth values without a scale.
        """
        types = {*self.types, *self.constant_types}
        if "int16" in types:
            return "int16"
        weights = _EIGHT_BITS & {*self.constant_types}
        if weights and "float32" in self.types and self.name not in ("QUANTIZE", "DEQUANTIZE"):
            return "dynamic-range"
        order = ("float16", "int8", "uint8", "float32")
        return next((kind for kind in order if kind in types), "other")


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
        constant = [len(data) > 0 for data in (_data(model, tensor) for tensor in tensors)]
        for tensor, is_constant in zip(tensors, constant, strict=True):
            types[is_constant].append(TENSOR_TYPE_NAMES[tensor.type].lower())
        scalars = (graph.tensors[operator.inputs[slot]] for slot in SCALAR_INPUTS.get(name, ()))
        inputs = constant[: len(constant) - len(operator.outputs)]
        found.append(
            OperatorSummary(
                name,
                tuple(types[False]),
                tuple(types[True]),
                max_rank=max((len(tensor.shape) for tensor in tensors), default=0),
                list_for_scalar=any(len(tensor.shape) > 0 for tensor in scalars),
                is_constant=all(inputs),
            )
        )
    return found


def _data(model: Model, tensor: Tensor) -> Sequence[int]:
    """Returns the bytes of a constant; none of an activation."""
    data = model.buffers[tensor.buffer].data
    return () if data is None else cast("Sequence[int]", data)


def _operators(model: Model) -> Iterator[tuple[str, SubGraph, Operator]]:
    """Yields name, subgraph and operator."""
    for graph in model.subgraphs:
        for operator in graph.operators:
            opcode = builtin_code(model.operatorCodes[operator.opcodeIndex])
            yield OP_NAMES.get(opcode, str(opcode)), graph, operator
