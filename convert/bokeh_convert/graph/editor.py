"""A .tflite file opened for editing: what every rewrite of a graph needs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from bokeh_convert.graph.schema_views import (
    OP_NAMES,
    Buffer,
    Metadata,
    Model,
    Op,
    Operator,
    OperatorCode,
    OperatorOptions,
    QuantizationParameters,
    Tensor,
    TensorType,
    builtin_code,
    pack_model,
    read_model,
    used_tensors,
)

Constant = npt.NDArray[np.number]

_DTYPES: dict[int, type[np.number]] = {
    TensorType.FLOAT32: np.float32,
    TensorType.FLOAT16: np.float16,
    TensorType.INT8: np.int8,
    TensorType.INT32: np.int32,
    TensorType.INT64: np.int64,
}
_TENSOR_TYPES = {np.dtype(dtype): number for number, dtype in _DTYPES.items()}


class Graph:
    """The only subgraph of a .tflite file. A tensor is its index, as in the file.

    Args:
        content: The file.

    Attributes:
        trained_ranges: (minimum, maximum) of activations that were rounded in training, by name. A
            file does not hold them; who scales an activation scales its range.

    Raises:
        ValueError: If the file has several subgraphs.
    """

    def __init__(self, content: bytes) -> None:
        self.trained_ranges: dict[str, tuple[float, float]] = {}
        self.model: Model = read_model(content)
        (self._graph,) = self.model.subgraphs
        self._axes: dict[str, int] = {}
        self._names = {bytes(tensor.name) for tensor in self.tensors}

    @property
    def tensors(self) -> list[Tensor]:
        return self._graph.tensors

    @property
    def operators(self) -> list[Operator]:
        """A copy of the list, in execution order; assign a new list to change the graph."""
        return list(self._graph.operators)

    @operators.setter
    def operators(self, operators: Sequence[Operator]) -> None:
        self._graph.operators = list(operators)

    @property
    def inputs(self) -> list[int]:
        return list(self._graph.inputs)

    @property
    def outputs(self) -> list[int]:
        return list(self._graph.outputs)

    def set_inputs_outputs(self, inputs: Sequence[int], outputs: Sequence[int]) -> None:
        """Replaces the graph's inputs and outputs.

        A signature with as many inputs and outputs is updated; any other is removed.
        """
        self._graph.inputs, self._graph.outputs = list(inputs), list(outputs)
        kept = []
        for signature in self.model.signatureDefs or []:
            both = ((signature.inputs, inputs), (signature.outputs, outputs))
            if all(len(tensor_maps) == len(tensors) for tensor_maps, tensors in both):
                for tensor_maps, tensors in both:
                    for tensor_map, tensor in zip(tensor_maps, tensors, strict=True):
                        tensor_map.tensorIndex = tensor
                kept.append(signature)
        self.model.signatureDefs = kept

    def name(self, tensor: int) -> str:
        return self.tensors[tensor].name.decode()

    def opcode(self, operator: Operator) -> int:
        """Returns the operator's number in `Op`."""
        return builtin_code(self.model.operatorCodes[operator.opcodeIndex])

    def opcode_name(self, operator: Operator) -> str:
        """Returns the operator's name in `Op`, such as "CONV_2D"."""
        return OP_NAMES[self.opcode(operator)]

    def has_fused_activation(self, operator: Operator) -> bool:
        """Returns whether the operator also applies an activation function, such as RELU."""
        none: int = schema.ActivationFunctionType.NONE
        return self.fused_activation(operator) != none

    def fused_activation(self, operator: Operator) -> int:
        """Returns the activation function that the operator also applies, NONE if it has none."""
        none = schema.ActivationFunctionType.NONE
        return int(getattr(operator.builtinOptions, "fusedActivationFunction", none))

    def is_grouped(self, operator: Operator) -> bool:
        """Returns whether the operator is a CONV_2D whose filters see some of the channels each."""
        if self.opcode(operator) != Op.CONV_2D:
            return False
        source, filters = (self.tensors[index].shape for index in operator.inputs[:2])
        return bool(source[-1] != filters[-1])

    def is_constant(self, tensor: int) -> bool:
        """Returns whether a tensor has values in the file; -1, an input left out, has none."""
        if tensor < 0:
            return False
        data = self.model.buffers[self.tensors[tensor].buffer].data
        return data is not None and len(data) > 0

    def producers(self) -> dict[int, Operator]:
        """Returns the operator that writes each activation."""
        return {out: operator for operator in self.operators for out in operator.outputs}

    def consumers(self) -> dict[int, list[Operator]]:
        """Returns the operators that read each tensor."""
        consumers: dict[int, list[Operator]] = {}
        for operator in self.operators:
            for index in dict.fromkeys(operator.inputs):
                consumers.setdefault(index, []).append(operator)
        return consumers

    def remove_unused(self) -> None:
        """Removes operators whose outputs nothing reads, then unused tensors and buffers.

        Tensors get new indices.
        """
        needed = set(self.outputs)
        kept = []
        for operator in reversed(self.operators):
            if any(out in needed for out in operator.outputs):
                needed |= set(operator.inputs)
                kept.append(operator)
        self.operators = kept[::-1]
        self._remove_unused_tensors()
        self._remove_unused_buffers()

    def _remove_unused_tensors(self) -> None:
        used = {*self.inputs, *self.outputs}
        for operator in self.operators:
            used |= set(used_tensors(operator))
        moved = {-1: -1, **{old: new for new, old in enumerate(sorted(used))}}
        for operator in self.operators:
            operator.inputs = [moved[i] for i in operator.inputs]
            operator.outputs = [moved[i] for i in operator.outputs]
        self._graph.tensors = [self.tensors[old] for old in sorted(used)]
        self._axes = {name: moved[i] for name, i in self._axes.items() if i in moved}
        self.set_inputs_outputs([moved[i] for i in self.inputs], [moved[i] for i in self.outputs])

    def _remove_unused_buffers(self) -> None:
        holders: list[Tensor | Metadata] = [*self.tensors, *(self.model.metadata or [])]
        used = {0, *(holder.buffer for holder in holders)}  # 0 is the empty buffer
        moved = {old: new for new, old in enumerate(sorted(used))}
        for holder in holders:
            holder.buffer = moved[holder.buffer]
        self.model.buffers = [self.model.buffers[old] for old in sorted(used)]

    def axes_constant(self, *axes: int) -> int:
        """Returns an int32 constant with a list of these axes; equal lists share one."""
        return self._axes_constant(f"axes_{'_'.join(map(str, axes))}", np.array(axes, np.int32))

    def axis_constant(self, axis: int) -> int:
        """Returns an int32 scalar with this axis; equal axes share one.

        SPLIT takes a scalar. LiteRT's kernel also takes a list of one, but OpenVINO does not.
        """
        return self._axes_constant(f"axis_{axis}", np.array(axis, np.int32))

    def _axes_constant(self, name: str, values: Constant) -> int:
        if name not in self._axes:
            self._axes[name] = self.add_constant(name, values)
        return self._axes[name]

    def constant(self, tensor: int) -> Constant:
        """Returns the values of a float32, int8, int32 or int64 constant."""
        described = self.tensors[tensor]
        data = np.asarray(self.model.buffers[described.buffer].data, np.uint8).tobytes()
        return np.frombuffer(data, _DTYPES[described.type]).reshape(described.shape)

    def dequantized(self, tensor: int) -> npt.NDArray[np.float32]:
        """Returns the real values of a constant that is quantized per tensor or per channel.

        Raises:
            ValueError: If it is not quantized.
        """
        quantization = self.tensors[tensor].quantization
        if quantization is None or quantization.scale is None:
            raise ValueError(f"tensor {self.name(tensor)!r} is not quantized")
        values = self.constant(tensor)
        shape = [1] * values.ndim
        shape[quantization.quantizedDimension] = -1
        scale, zero_point = (
            np.asarray(part).reshape(shape) for part in (quantization.scale, quantization.zeroPoint)
        )
        return np.asarray((values - zero_point) * scale, np.float32)

    def add_tensor(
        self,
        name: str,
        tensor_type: int,
        shape: Sequence[int],
        quantization: QuantizationParameters | None = None,
    ) -> int:
        """Adds an activation and returns its index."""
        return self._add(name, tensor_type, shape, 0, quantization)

    def add_constant(
        self, name: str, values: Constant, quantization: QuantizationParameters | None = None
    ) -> int:
        """Adds a constant and returns its index."""
        # As an array: flatbuffers writes those at once, and other bytes one by one.
        buffer = self._add_buffer(np.frombuffer(values.tobytes(), np.uint8))
        return self._add(name, _TENSOR_TYPES[values.dtype], values.shape, buffer, quantization)

    def new_operator(
        self,
        opcode: int,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: OperatorOptions | None = None,
    ) -> Operator:
        """Makes an operator; the caller inserts it into `operators`.

        Args:
            opcode: Its number in `Op`.
            inputs: Tensors that it reads.
            outputs: Tensors that it writes.
            options: One of the schema's option objects, such as `ReducerOptionsT()`.
        """
        operator: Operator = schema.OperatorT()
        operator.opcodeIndex = self._opcode_index(opcode)
        operator.inputs, operator.outputs = list(inputs), list(outputs)
        if options is not None:
            name = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, name)
            operator.builtinOptions = options
        return operator

    def require_version(self, opcode: int, version: int) -> None:
        """Raises the version of an operator to at least this one, if the graph has it."""
        for code in self.model.operatorCodes:
            if builtin_code(code) == opcode:
                code.version = max(code.version, version)

    def to_bytes(self) -> bytes:
        """Returns the edited file."""
        return pack_model(self.model)

    def set_metadata(self, name: str, value: bytes) -> None:
        """Writes a metadata entry; replaces one of the same name."""
        entries = [e for e in self.model.metadata or [] if e.name != name.encode()]
        entry: Metadata = schema.MetadataT()
        entry.name, entry.buffer = name.encode(), self._add_buffer(value)
        self.model.metadata = [*entries, entry]

    def _add_buffer(self, data: bytes | npt.NDArray[np.uint8]) -> int:
        buffer: Buffer = schema.BufferT()
        buffer.data = data
        self.model.buffers.append(buffer)
        return len(self.model.buffers) - 1

    def _add(
        self,
        name: str,
        tensor_type: int,
        shape: Sequence[int],
        buffer: int,
        quantization: QuantizationParameters | None,
    ) -> int:
        # The quantizer identifies tensors by name: no two may share one.
        candidates = (f"{name}_{count}" if count else name for count in itertools.count())
        name = next(candidate for candidate in candidates if candidate.encode() not in self._names)
        self._names.add(name.encode())
        tensor: Tensor = schema.TensorT()
        tensor.name, tensor.type, tensor.buffer = name.encode(), tensor_type, buffer
        tensor.shape = list(shape)
        tensor.quantization = quantization
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def _opcode_index(self, opcode: int) -> int:
        for index, code in enumerate(self.model.operatorCodes):
            if builtin_code(code) == opcode:
                return index
        code = _new_operator_code(opcode)
        self.model.operatorCodes.append(code)
        return len(self.model.operatorCodes) - 1


def _new_operator_code(opcode: int) -> OperatorCode:
    """Makes an entry of the model's operator codes, readable by old and new interpreters."""
    code: OperatorCode = schema.OperatorCodeT()
    code.builtinCode = opcode
    code.deprecatedBuiltinCode = min(opcode, Op.PLACEHOLDER_FOR_GREATER_OP_CODES)
    code.version = 1
    return code
