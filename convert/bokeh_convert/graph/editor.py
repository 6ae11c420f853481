"""A .tflite file opened for editing: what every rewrite of a graph needs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

Op = schema.BuiltinOperator
Kind = schema.TensorType

_DTYPES: dict[int, np.dtype[Any]] = {
    Kind.FLOAT32: np.dtype(np.float32),
    Kind.INT8: np.dtype(np.int8),
    Kind.INT32: np.dtype(np.int32),
    Kind.INT64: np.dtype(np.int64),
}
_KINDS = {dtype: kind for kind, dtype in _DTYPES.items()}
_NAMES = {value: name for name, value in vars(Op).items() if isinstance(value, int)}


class Graph:
    """The one subgraph of a .tflite file. Tensors are known by their index, as in the file.

    Args:
        content: The file.

    Raises:
        ValueError: If it holds several subgraphs.
    """

    def __init__(self, content: bytes) -> None:
        self.model: Any = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
        (self._graph,) = self.model.subgraphs
        self._axes: dict[tuple[int, ...], int] = {}
        self._names = {bytes(tensor.name) for tensor in self.tensors}

    @property
    def tensors(self) -> list[Any]:
        tensors: list[Any] = self._graph.tensors
        return tensors

    @property
    def operators(self) -> list[Any]:
        return list(self._graph.operators)

    @operators.setter
    def operators(self, operators: Sequence[Any]) -> None:
        self._graph.operators = list(operators)

    @property
    def inputs(self) -> list[int]:
        return [int(index) for index in self._graph.inputs]

    @property
    def outputs(self) -> list[int]:
        return [int(index) for index in self._graph.outputs]

    def set_ends(self, inputs: Sequence[int], outputs: Sequence[int]) -> None:
        """Changes what the graph reads and gives; a signature follows if the numbers agree."""
        self._graph.inputs, self._graph.outputs = _indices(inputs), _indices(outputs)
        kept = []
        for signature in self.model.signatureDefs or []:
            ends = ((signature.inputs, inputs), (signature.outputs, outputs))
            if all(len(maps) == len(indices) for maps, indices in ends):
                for maps, indices in ends:
                    for tensor_map, index in zip(maps, indices, strict=True):
                        tensor_map.tensorIndex = int(index)
                kept.append(signature)
        self.model.signatureDefs = kept

    def name(self, tensor: int) -> str:
        return str(self._graph.tensors[tensor].name.decode())

    def kind(self, operator: Any) -> int:
        """Returns the operator's number in `Op`."""
        code = self.model.operatorCodes[operator.opcodeIndex]
        # Old files keep the number in one field, new ones in the other.
        return int(max(code.builtinCode, code.deprecatedBuiltinCode))

    def kind_name(self, operator: Any) -> str:
        return str(_NAMES[self.kind(operator)])

    def fused(self, operator: Any) -> bool:
        """Returns whether the operator also applies an activation function, such as RELU."""
        none = schema.ActivationFunctionType.NONE
        return bool(getattr(operator.builtinOptions, "fusedActivationFunction", none) != none)

    def is_constant(self, tensor: int) -> bool:
        """Returns whether a tensor has values in the file; -1, an input left out, has none."""
        if tensor < 0:
            return False
        data = self.model.buffers[self._graph.tensors[tensor].buffer].data
        return data is not None and len(data) > 0

    def makers(self) -> dict[int, Any]:
        """Returns the operator that makes each activation."""
        return {int(out): operator for operator in self.operators for out in operator.outputs}

    def readers(self) -> dict[int, list[Any]]:
        """Returns the operators that read each tensor."""
        readers: dict[int, list[Any]] = {}
        for operator in self.operators:
            for index in dict.fromkeys(int(i) for i in operator.inputs):
                readers.setdefault(index, []).append(operator)
        return readers

    def drop_unused(self) -> None:
        """Drops operators whose results nothing reads, and tensors that no operator touches.

        Tensors get new indices.
        """
        needed = set(self.outputs)
        kept = []
        for operator in reversed(self.operators):
            if any(int(out) in needed for out in operator.outputs):
                needed |= {int(index) for index in operator.inputs}
                kept.append(operator)
        self.operators = kept[::-1]
        self._drop_tensors()

    def _drop_tensors(self) -> None:
        used = {*self.inputs, *self.outputs}
        for operator in self.operators:
            used |= {int(i) for i in (*operator.inputs, *operator.outputs) if i >= 0}
        moved = {-1: -1, **{old: new for new, old in enumerate(sorted(used))}}
        for operator in self.operators:
            operator.inputs = _indices([moved[int(i)] for i in operator.inputs])
            operator.outputs = _indices([moved[int(i)] for i in operator.outputs])
        self._graph.tensors = [self.tensors[old] for old in sorted(used)]
        self._axes = {axes: moved[i] for axes, i in self._axes.items() if i in moved}
        ends = [moved[i] for i in self.inputs], [moved[i] for i in self.outputs]
        self.set_ends(*ends)
        entries = self.model.metadata or []
        buffers = {0, *(t.buffer for t in self.tensors), *(entry.buffer for entry in entries)}
        places = {old: new for new, old in enumerate(sorted(buffers))}
        for holder in (*self.tensors, *entries):
            holder.buffer = places[holder.buffer]
        self.model.buffers = [self.model.buffers[old] for old in sorted(buffers)]

    def axes(self, *axes: int) -> int:
        """Returns a constant of these axes, the same whenever they are asked for."""
        if axes not in self._axes:
            name = f"axes_{'_'.join(map(str, axes))}"
            self._axes[axes] = self.add_constant(name, np.array(axes, np.int32))
        return self._axes[axes]

    def constant(self, tensor: int) -> npt.NDArray[Any]:
        """Returns the values of a constant of an integer or float32 type."""
        described = self._graph.tensors[tensor]
        data = np.asarray(self.model.buffers[described.buffer].data, np.uint8).tobytes()
        values: npt.NDArray[Any] = np.frombuffer(data, _DTYPES[described.type])
        return values.reshape(described.shape)

    def dequantized(self, tensor: int) -> npt.NDArray[np.float32]:
        """Returns the real values of a constant that is quantized as a whole or by channel."""
        quantization = self._graph.tensors[tensor].quantization
        values = self.constant(tensor)
        shape = [1] * values.ndim
        shape[quantization.quantizedDimension] = -1
        scale, zero = (
            np.asarray(part).reshape(shape) for part in (quantization.scale, quantization.zeroPoint)
        )
        return np.asarray((values - zero) * scale, np.float32)

    def add_tensor(
        self, name: str, kind: int, shape: Sequence[int], quantization: Any = None
    ) -> int:
        """Adds an activation and returns its index."""
        return self._add(name, kind, shape, 0, quantization)

    def add_constant(self, name: str, values: npt.NDArray[Any]) -> int:
        """Adds a constant and returns its index."""
        buffer = schema.BufferT()
        # As an array: flatbuffers writes those at once, and other bytes one by one.
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        return self._add(
            name, _KINDS[values.dtype], values.shape, len(self.model.buffers) - 1, None
        )

    def operator(
        self, kind: int, inputs: Sequence[int], outputs: Sequence[int], options: Any = None
    ) -> Any:
        """Makes an operator; the caller puts it in its place.

        Args:
            kind: Its number in `Op`.
            inputs: Tensors that it reads.
            outputs: Tensors that it makes.
            options: One of the schema's option objects, such as `ReducerOptionsT()`.
        """
        operator = schema.OperatorT()
        operator.opcodeIndex = self._code(kind)
        operator.inputs, operator.outputs = _indices(inputs), _indices(outputs)
        if options is not None:
            name = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, name)
            operator.builtinOptions = options
        return operator

    def to_bytes(self) -> bytes:
        return bytes(flatbuffer_utils.convert_object_to_bytearray(self.model))

    def set_metadata(self, name: str, value: bytes) -> None:
        """Writes a metadata entry, in the place of one of the same name."""
        entries = [e for e in self.model.metadata or [] if e.name != name.encode()]
        entry = schema.MetadataT()
        entry.name, entry.buffer = name.encode(), self._buffer(value)
        self.model.metadata = [*entries, entry]

    def _buffer(self, data: bytes) -> int:
        buffer = schema.BufferT()
        buffer.data = data
        self.model.buffers.append(buffer)
        return len(self.model.buffers) - 1

    def _add(
        self, name: str, kind: int, shape: Sequence[int], buffer: int, quantization: Any = None
    ) -> int:
        # The engine goes by names: no two tensors may share one.
        free = (f"{name}_{count}" if count else name for count in itertools.count())
        name = next(candidate for candidate in free if candidate.encode() not in self._names)
        self._names.add(name.encode())
        tensor = schema.TensorT()
        tensor.name, tensor.type, tensor.buffer = name.encode(), kind, buffer
        tensor.shape = _indices(shape)
        tensor.quantization = quantization
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def _code(self, kind: int) -> int:
        for index, code in enumerate(self.model.operatorCodes):
            if max(code.builtinCode, code.deprecatedBuiltinCode) == kind:
                return index
        code = schema.OperatorCodeT()
        code.builtinCode = kind
        code.deprecatedBuiltinCode = min(kind, Op.PLACEHOLDER_FOR_GREATER_OP_CODES)
        code.version = 1
        self.model.operatorCodes.append(code)
        return len(self.model.operatorCodes) - 1


def _indices(values: Sequence[int]) -> npt.NDArray[np.int32]:
    return np.array(values, np.int32)
