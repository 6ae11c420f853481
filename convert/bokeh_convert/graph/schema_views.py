"""Types of the objects that the TFLite schema's Python object API returns.

`ai_edge_litert.schema_py_generated` has no type annotations. These protocols declare the fields
that this package reads and writes, under the schema's own names, so that mypy checks their use.
`flatbuffer_utils` returns every vector but a buffer's data as a list.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

Op = schema.BuiltinOperator
TensorType = schema.TensorType

OP_NAMES: dict[int, str] = {
    value: name for name, value in vars(Op).items() if isinstance(value, int)
}
TENSOR_TYPE_NAMES: dict[int, str] = {
    value: name for name, value in vars(TensorType).items() if isinstance(value, int)
}


class QuantizationParameters(Protocol):
    """`QuantizationParametersT`: `real = (quantized - zeroPoint) * scale`, by channel or not."""

    scale: list[float] | None
    zeroPoint: list[int] | None
    quantizedDimension: int


class Tensor(Protocol):
    """`TensorT`. `type` is a number in `TensorType`, `buffer` an index into the model's buffers."""

    name: bytes
    type: int
    shape: list[int]
    buffer: int
    quantization: QuantizationParameters | None


class OperatorOptions(Protocol):
    """Any of the schema's option tables, such as `Conv2DOptionsT`."""


class Conv2DOptions(OperatorOptions, Protocol):
    """`Conv2DOptionsT`."""

    padding: int
    strideH: int
    strideW: int
    dilationHFactor: int
    dilationWFactor: int


class Pool2DOptions(OperatorOptions, Protocol):
    """`Pool2DOptionsT`."""

    padding: int
    strideH: int
    strideW: int
    filterHeight: int
    filterWidth: int


class SpaceToDepthOptions(OperatorOptions, Protocol):
    """`SpaceToDepthOptionsT`."""

    blockSize: int


class ReducerOptions(OperatorOptions, Protocol):
    """`ReducerOptionsT`, of MEAN, SUM and the like."""

    keepDims: bool


class Operator(Protocol):
    """`OperatorT`. Inputs and outputs are tensor indices; an input left out is -1."""

    opcodeIndex: int
    inputs: list[int]
    outputs: list[int]
    builtinOptionsType: int
    builtinOptions: OperatorOptions | None


class OperatorCode(Protocol):
    """`OperatorCodeT`. Old files hold the number in the deprecated field alone."""

    builtinCode: int
    deprecatedBuiltinCode: int
    version: int


class Buffer(Protocol):
    """`BufferT`."""

    data: bytes | npt.NDArray[np.uint8] | None


class Metadata(Protocol):
    """`MetadataT`. `buffer` is an index into the model's buffers."""

    name: bytes
    buffer: int


class TensorMap(Protocol):
    """`TensorMapT`: the name that a signature gives to a tensor."""

    name: bytes | str
    tensorIndex: int


class Signature(Protocol):
    """`SignatureDefT`."""

    signatureKey: bytes | str
    subgraphIndex: int
    inputs: list[TensorMap]
    outputs: list[TensorMap]


class SubGraph(Protocol):
    """`SubGraphT`."""

    tensors: list[Tensor]
    operators: list[Operator]
    inputs: list[int]
    outputs: list[int]


class Model(Protocol):
    """`ModelT`, the root of a file."""

    operatorCodes: list[OperatorCode]
    subgraphs: list[SubGraph]
    buffers: list[Buffer]
    metadata: list[Metadata] | None
    signatureDefs: list[Signature] | None


def read_model(content: bytes) -> Model:
    """Unpacks a .tflite file."""
    return cast(Model, flatbuffer_utils.read_model_from_bytearray(bytearray(content)))


def pack_model(model: Model) -> bytes:
    """Returns a model as a .tflite file."""
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def builtin_code(code: OperatorCode) -> int:
    """Returns the number in `Op`: old files keep it in one field, new ones in the other."""
    return max(code.builtinCode, code.deprecatedBuiltinCode)


def used_tensors(operator: Operator) -> Sequence[int]:
    """Returns the tensors that an operator reads or writes, without inputs left out."""
    return [index for index in (*operator.inputs, *operator.outputs) if index >= 0]


def conv_2d_options(operator: Operator) -> Conv2DOptions:
    """Returns the options of a CONV_2D."""
    return cast(Conv2DOptions, operator.builtinOptions)


def pool_2d_options(operator: Operator) -> Pool2DOptions:
    """Returns the options of an AVERAGE_POOL_2D or MAX_POOL_2D."""
    return cast(Pool2DOptions, operator.builtinOptions)


def space_to_depth_options(operator: Operator) -> SpaceToDepthOptions:
    """Returns the options of a SPACE_TO_DEPTH."""
    return cast(SpaceToDepthOptions, operator.builtinOptions)


def reducer_options(operator: Operator) -> ReducerOptions:
    """Returns the options of a MEAN, SUM or other reduction."""
    return cast(ReducerOptions, operator.builtinOptions)
