"""Reads and checks the structure of a .tflite file before any interpreter sees it.

An interpreter follows the indices of a file into memory, and a corrupt one ends the process. What
is read here is read with every offset checked. The layout is that of FlatBuffers' binary format
(https://flatbuffers.dev/internals) and of LiteRT's `schema.fbs`.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bokeh_runtime.errors import InputError, printable
from bokeh_runtime.tflite.operator_names import BUILTIN_OPERATORS, CUSTOM, PLACEHOLDER

IDENTIFIER = b"TFL3"
# TensorType of schema.fbs: name and bytes of an element; others are not used by image networks.
_TENSOR_TYPES = {
    0: ("float32", 4),
    1: ("float16", 2),
    2: ("int32", 4),
    3: ("uint8", 1),
    4: ("int64", 8),
    6: ("bool", 1),
    7: ("int16", 2),
    9: ("int8", 1),
    10: ("float64", 8),
}
_LEVELS = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767)}
_MOST_ELEMENTS = 2**31
# Kernels abort where the quotient of two scales leaves the range of floats.
_SMALLEST_SCALE, _LARGEST_SCALE = 1e-30, 1e6


@dataclass(frozen=True)
class Tensor:
    """A tensor of the graph.

    Attributes:
        name: May be empty.
        shape: Its dimensions.
        dtype: NumPy's name of the type, or "type N" for one that image networks do not use.
        constant_bytes: Size of its data in the file; 0 where the graph computes it.
        quantization: Scale and zero point of the whole tensor; (0, 0) if it has none.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    constant_bytes: int
    quantization: tuple[float, int] = (0.0, 0)


@dataclass(frozen=True)
class Operator:
    """An operator of the graph, by the name that `schema.fbs` gives it (or the custom one)."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class TfliteFile:
    """The structure of a .tflite file.

    Attributes:
        path: Where it was read from.
        content: Its bytes.
        tensors, operators, inputs, outputs: Of the first subgraph, which is the model; tensors are
            named by their index.
        metadata: Bytes of each metadata entry.
        signatures: Names of the graphs that the file offers; empty if it names none.
    """

    path: Path
    content: bytes
    tensors: Sequence[Tensor]
    operators: Sequence[Operator]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    metadata: dict[str, bytes]
    signatures: tuple[str, ...] = ()

    @property
    def image_output_index(self) -> int:
        """Which of the outputs is the picture; see `find_image_output`."""
        found = [self.tensors[index] for index in self.outputs]
        return find_image_output(str(self.path), [(tensor.name, tensor.shape) for tensor in found])

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


def find_image_output(path: str, outputs: Sequence[tuple[str, Sequence[int]]]) -> int:
    """Returns which output of a network is the picture: the only one, or the one of 3 channels.

    Args:
        path: What to call the file in errors.
        outputs: Name and shape of each.

    Raises:
        InputError: If several may be the picture, or none of several is.
    """
    pictures = [i for i, (_, shape) in enumerate(outputs) if len(shape) == 4 and shape[3] == 3]
    if len(outputs) == 1:
        return 0
    if len(pictures) != 1:
        there = ", ".join(f"{name or i} {list(shape)}" for i, (name, shape) in enumerate(outputs))
        which = "several outputs that may be the picture" if pictures else "no output of 3 channels"
        raise InputError(
            f"{path}: has {which}: {there}; convert the trained model with "
            "`bokeh-convert --output-name NAME`"
        )
    return pictures[0]


def read_tflite(path: Path) -> TfliteFile:
    """Reads a .tflite file and checks that its parts fit together.

    Raises:
        InputError: If the file is missing, is no .tflite, or is damaged.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    if content[4:8] != IDENTIFIER:
        raise InputError(f"{path}: not a .tflite file; make one with bokeh-convert")
    try:
        return _parse(path, content)
    except (_DamageError, struct.error, UnicodeDecodeError, RecursionError) as error:
        raise InputError(
            f"{path}: damaged .tflite file ({error}); copy or convert it again"
        ) from error


class _DamageError(Exception):
    """The file contradicts itself."""


class _Table:
    """A FlatBuffers table; every access is checked against the file's end."""

    def __init__(self, content: bytes, position: int) -> None:
        self._content = content
        self._position = position
        vtable = position - _read("<i", content, position)
        size, self._size = _read("<H", content, vtable), _read("<H", content, vtable + 2)
        if size < 4 or size % 2 or vtable + size > len(content):
            raise _DamageError("a table's field list is out of bounds")
        if self._size < 4 or position + self._size > len(content):
            raise _DamageError("a table is out of bounds")
        self._fields = struct.unpack_from(f"<{(size - 4) // 2}H", content, vtable + 4)

    def number(self, field: int, layout: str, default: int = 0) -> int:
        at = self._at(field, struct.calcsize(layout))
        return default if at is None else _read(layout, self._content, at)

    def table(self, field: int) -> _Table | None:
        at = self._at(field, 4)
        return None if at is None else _Table(self._content, self._follow(at))

    def tables(self, field: int) -> Iterator[_Table]:
        start, length = self._vector(field, 4)
        for i in range(length):
            yield _Table(self._content, self._follow(start + 4 * i))

    def numbers(self, field: int, layout: str) -> tuple[int, ...]:
        start, length = self._vector(field, struct.calcsize(f"<{layout}"))
        return struct.unpack_from(f"<{length}{layout}", self._content, start)

    def raw(self, field: int) -> bytes:
        start, length = self._vector(field, 1)
        return self._content[start : start + length]

    def text(self, field: int) -> str:
        return self.raw(field).decode()

    def _vector(self, field: int, width: int) -> tuple[int, int]:
        at = self._at(field, 4)
        if at is None:
            return 0, 0
        start = self._follow(at)
        length = _read("<I", self._content, start)
        if start + 4 + length * width > len(self._content):
            raise _DamageError("a list runs past the end of the file")
        return start + 4, length

    def _follow(self, at: int) -> int:
        return at + _read("<I", self._content, at)

    def _at(self, field: int, width: int) -> int | None:
        offset = self._fields[field] if field < len(self._fields) else 0
        if offset == 0:
            return None
        if offset + width > self._size:
            raise _DamageError("a field is outside its table")
        return self._position + offset


def _read(layout: str, content: bytes, at: int) -> int:
    if at < 0:  # Python would count from the end.
        raise _DamageError("an offset points before the start of the file")
    (value,) = struct.unpack_from(layout, content, at)
    return int(value)


# Field numbers below are those of schema.fbs.
def _parse(path: Path, content: bytes) -> TfliteFile:
    model = _Table(content, _read("<I", content, 0))
    buffers = [_buffer(buffer, content) for buffer in model.tables(4)]
    names = [_operator_name(code) for code in model.tables(1)]
    graphs = list(model.tables(2))
    if not graphs:
        raise _DamageError("it holds no graph")
    sizes = [len(buffer) for buffer in buffers]
    # Every graph is checked; the first is the model.
    parsed = [_graph(graph, sizes, names) for graph in graphs]
    tensors, operators, inputs, outputs = parsed[0]
    if not inputs or not outputs:
        raise _DamageError("its graph has no input or no output")
    metadata = {}
    for entry in model.tables(6):
        index = entry.number(1, "<I")
        _check(index, len(buffers), "a metadata entry's buffer")
        metadata[entry.text(0)] = buffers[index]
    offered = {table.number(4, "<I"): table.text(2) for table in model.tables(7)}
    signatures = tuple(name for _, name in sorted(offered.items()))
    return TfliteFile(path, content, tensors, operators, inputs, outputs, metadata, signatures)


def _buffer(table: _Table, content: bytes) -> bytes:
    offset, size = table.number(1, "<Q"), table.number(2, "<Q")
    if offset > 1:  # A buffer outside the FlatBuffer, as files over 2 GB have them.
        if offset + size > len(content):
            raise _DamageError("a buffer runs past the end of the file")
        return content[offset : offset + size]
    return table.raw(0)


def _operator_name(code: _Table) -> str:
    # Since operator 127 the name is in a wider field; older files have the narrow one alone.
    number = max(code.number(0, "<b"), code.number(3, "<i"))
    if number == CUSTOM:
        return printable(code.text(1))
    if number == PLACEHOLDER or not 0 <= number < len(BUILTIN_OPERATORS):
        raise _DamageError(f"operator {number} is unknown")
    return BUILTIN_OPERATORS[number]


_Graph = tuple[list[Tensor], list[Operator], tuple[int, ...], tuple[int, ...]]


def _graph(graph: _Table, buffer_sizes: Sequence[int], names: Sequence[str]) -> _Graph:
    tensors = [_tensor(tensor, buffer_sizes) for tensor in graph.tables(0)]
    inputs, outputs = graph.numbers(1, "i"), graph.numbers(2, "i")
    for index in (*inputs, *outputs):
        _check(index, len(tensors), "an input or output of the graph")
    operators = []
    made = {i for i, tensor in enumerate(tensors) if tensor.constant_bytes} | set(inputs)
    for table in graph.tables(3):
        code = table.number(0, "<I")
        _check(code, len(names), "an operator's code")
        operator = Operator(names[code], table.numbers(1, "i"), table.numbers(2, "i"))
        for position, index in enumerate(operator.inputs):
            # -1 is an optional input left out, such as a bias.
            if index != -1 or (position < 2 and "LSTM" not in operator.name):
                _check(index, len(tensors), f"an input of {operator.name}")
        for index in operator.outputs:
            _check(index, len(tensors), f"an output of {operator.name}")
            if index in made:
                raise _DamageError(f"an output of {operator.name} is made twice or is a constant")
            made.add(index)
        table.table(4)  # its options lie within the file
        _check_same_shape(operator, tensors)
        operators.append(operator)
    return tensors, operators, inputs, outputs


def _check_same_shape(operator: Operator, tensors: Sequence[Tensor]) -> None:
    # XNNPACK copies these by the shape of one side without looking at the other.
    if operator.name in ("DEQUANTIZE", "QUANTIZE"):
        shapes = {tensors[i].shape for i in (*operator.inputs, *operator.outputs)}
        if len(shapes) > 1:
            raise _DamageError(f"{operator.name} changes a shape")


def _tensor(table: _Table, buffer_sizes: Sequence[int]) -> Tensor:
    shape, kind, buffer = table.numbers(0, "i"), table.number(1, "<b"), table.number(2, "<I")
    _check(buffer, len(buffer_sizes), "a tensor's buffer")
    name = table.text(3)
    if any(n < 0 for n in shape) or math.prod(shape) > _MOST_ELEMENTS:
        raise _DamageError(f"tensor '{name}' has an impossible shape")
    dtype, width = _TENSOR_TYPES.get(kind, (f"type {kind}", 0))
    sparse = table.table(6) is not None
    held = buffer_sizes[buffer]
    if held and width and not sparse and held != math.prod(shape) * width:
        raise _DamageError(f"tensor '{name}' does not fit its data")
    quantization = _quantization(table.table(4), name, shape, dtype)
    if dtype == "int8" and not held and quantization == (0.0, 0):
        raise _DamageError(f"tensor '{name}' has no scale")
    return Tensor(name, shape, dtype, held, quantization)


def _quantization(
    table: _Table | None, name: str, shape: Sequence[int], dtype: str
) -> tuple[float, int]:
    if table is None:
        return 0.0, 0
    scales, zeros = table.numbers(2, "f"), table.numbers(3, "q")
    dimension = table.number(6, "<i")
    if len(scales) > 1 and (not 0 <= dimension < len(shape) or len(scales) != shape[dimension]):
        raise _DamageError(f"tensor '{name}' has scales that do not fit its shape")
    if not all(_SMALLEST_SCALE < scale < _LARGEST_SCALE for scale in scales):
        raise _DamageError(f"tensor '{name}' has an impossible scale")
    if len(zeros) not in ((0, 1, len(scales)) if scales else (0,)):
        raise _DamageError(f"tensor '{name}' has zero points that do not fit its scales")
    lowest, highest = _LEVELS.get(dtype, (-(2**31), 2**31 - 1))
    if not all(lowest <= zero <= highest for zero in zeros):
        raise _DamageError(f"tensor '{name}' has a zero point outside {dtype}")
    return (scales[0], zeros[0] if zeros else 0) if len(scales) == 1 else (0.0, 0)


def _check(index: int, length: int, what: str) -> None:
    if not 0 <= index < length:
        raise _DamageError(f"{what} does not exist")
