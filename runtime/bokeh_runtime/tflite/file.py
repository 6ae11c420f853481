"""Reads and checks the structure of a .tflite file, before an interpreter opens it.

Interpreters use the offsets and indices in a file without checks, so a damaged file can crash the
process. Here every offset is checked. The layout is that of LiteRT's `schema.fbs`.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bokeh_runtime.errors import InputError, printable
from bokeh_runtime.tflite.flatbuffer import DamagedFileError, Table, read_number
from bokeh_runtime.tflite.operator_names import BUILTIN_OPERATORS, CUSTOM, PLACEHOLDER

IDENTIFIER = b"TFL3"
# TensorType of schema.fbs: name and bytes per element. Image networks do not use other types.
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
_INTEGER_LIMITS = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767)}
_MAX_ELEMENTS = 2**31
# Kernels abort if the quotient of two scales is not a finite float32.
_MIN_SCALE, _MAX_SCALE = 1e-30, 1e6


@dataclass(frozen=True)
class Tensor:
    """A tensor of the graph.

    Attributes:
        name: Name of the tensor, possibly empty.
        shape: Shape of the tensor.
        dtype: NumPy's name of its type, or "type N" for types that image networks do not use.
        constant_bytes: Size of its constant data in bytes; 0 if the tensor is computed.
        quantization: Scale and zero point with per-tensor quantization; (0, 0) otherwise.
        shape_signature: The shape with -1 for sizes that are open, which `shape` gives as 1 or as
            those of an example; () if none are.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    constant_bytes: int
    quantization: tuple[float, int] = (0.0, 0)
    shape_signature: tuple[int, ...] = ()

    def is_open(self, dimension: int) -> bool:
        """Whether a dimension may be resized."""
        return dimension < len(self.shape_signature) and self.shape_signature[dimension] == -1


@dataclass(frozen=True)
class Signature:
    """A named entry point of the file.

    Attributes:
        name: Name of the signature.
        subgraph: Index of the subgraph that it runs.
        inputs, outputs: Indices of tensors of that subgraph.
    """

    name: str
    subgraph: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Operator:
    """An operator of the graph.

    Attributes:
        name: Name in `schema.fbs`, or the name of a custom operator.
        inputs, outputs: Indices of tensors; -1 is an optional input that is not given.
    """

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class TfliteFile:
    """The structure of a .tflite file.

    Attributes:
        path: Path of the file.
        content: Content of the file.
        tensors, operators, inputs, outputs: Those of the first subgraph, which is the model. Inputs
            and outputs are indices of tensors.
        metadata: Content of each metadata entry, by name.
        signatures: The signatures, in the order of their subgraphs; empty if there are none.
        signature: Name of the one that was chosen; "" if none was. See `graph_choice`.
        resized_to: Height and width to which the input was resized; None if it was not. The other
            tensors then still have the shapes of the file, and the interpreter knows the new ones.
    """

    path: Path
    content: bytes
    tensors: Sequence[Tensor]
    operators: Sequence[Operator]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    metadata: dict[str, bytes]
    signatures: tuple[Signature, ...] = ()
    signature: str = ""
    resized_to: tuple[int, int] | None = None

    @property
    def image_output_index(self) -> int:
        """Index of the image among `outputs`; see `find_image_output`."""
        found = [self.tensors[index] for index in self.outputs]
        return find_image_output(str(self.path), [(tensor.name, tensor.shape) for tensor in found])

    @property
    def sha256(self) -> str:
        """Hash of the file, in hex."""
        return hashlib.sha256(self.content).hexdigest()


def find_image_output(path: str, outputs: Sequence[tuple[str, Sequence[int]]]) -> int:
    """Returns the index of the output image: the only output, or the only one with 3 channels.

    Args:
        path: Name of the file in error messages.
        outputs: Name and shape of each output.

    Raises:
        InputError: If several outputs, or none of several, have 3 channels.
    """
    images = [i for i, (_, shape) in enumerate(outputs) if len(shape) == 4 and shape[3] == 3]
    if len(outputs) == 1:
        return 0
    if len(images) != 1:
        described = ", ".join(
            f"{name or i} {list(shape)}" for i, (name, shape) in enumerate(outputs)
        )
        problem = "several outputs with 3 channels" if images else "no output with 3 channels"
        raise InputError(
            f"{path}: has {problem}: {described}; convert the trained model with "
            "`bokeh-convert --output-name NAME`"
        )
    return images[0]


def read_tflite(path: Path) -> TfliteFile:
    """Reads a .tflite file and checks its structure.

    Raises:
        InputError: If the file is missing, damaged, or not a .tflite file.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    if content[4:8] != IDENTIFIER:
        raise InputError(f"{path}: not a .tflite file; make one with bokeh-convert")
    return parse_tflite(path, content)


def parse_tflite(path: Path, content: bytes) -> TfliteFile:
    """Checks the structure of a file that has been read.

    Args:
        path: Path of the file, for error messages.
        content: Content of the file.

    Raises:
        InputError: If the file is damaged.
    """
    try:
        return _parse(path, content)
    except (DamagedFileError, struct.error, UnicodeDecodeError, RecursionError) as error:
        raise InputError(
            f"{path}: damaged .tflite file ({error}); copy or convert it again"
        ) from error


# Field numbers below are those of schema.fbs.
def _parse(path: Path, content: bytes) -> TfliteFile:
    model = Table(content, read_number("<I", content, 0))
    buffers = [_read_buffer(buffer, content) for buffer in model.tables(4)]
    names = [_operator_name(opcode) for opcode in model.tables(1)]
    subgraph_tables = list(model.tables(2))
    if not subgraph_tables:
        raise DamagedFileError("it has no subgraph")
    sizes = [len(buffer) for buffer in buffers]
    # All subgraphs are checked. The first one is the model.
    subgraphs = [_parse_subgraph(graph, sizes, names) for graph in subgraph_tables]
    tensors, operators, inputs, outputs = subgraphs[0]
    if not inputs or not outputs:
        raise DamagedFileError("its subgraph has no input or no output")
    metadata = {}
    for entry in model.tables(6):
        index = entry.number(1, "<I")
        _check_index(index, len(buffers), "a metadata entry's buffer")
        metadata[entry.text(0)] = buffers[index]
    found = [_parse_signature(table, subgraphs) for table in model.tables(7)]
    signatures = tuple(sorted(found, key=lambda signature: signature.subgraph))
    if len({signature.name for signature in signatures}) < len(signatures):
        raise DamagedFileError("two signatures have the same name")
    return TfliteFile(path, content, tensors, operators, inputs, outputs, metadata, signatures)


def _read_buffer(table: Table, content: bytes) -> bytes:
    offset, size = table.number(1, "<Q"), table.number(2, "<Q")
    if offset > 1:  # Files over 2 GB have buffers outside the FlatBuffer.
        if offset + size > len(content):
            raise DamagedFileError("a buffer runs past the end of the file")
        return content[offset : offset + size]
    return table.raw(0)


def _operator_name(opcode: Table) -> str:
    # Operators above 126 are in a wider field, which older files do not have.
    number = max(opcode.number(0, "<b"), opcode.number(3, "<i"))
    if number == CUSTOM:
        return printable(opcode.text(1))
    if number == PLACEHOLDER or not 0 <= number < len(BUILTIN_OPERATORS):
        raise DamagedFileError(f"operator {number} is unknown")
    return BUILTIN_OPERATORS[number]


_Graph = tuple[list[Tensor], list[Operator], tuple[int, ...], tuple[int, ...]]


def _parse_subgraph(graph: Table, buffer_sizes: Sequence[int], names: Sequence[str]) -> _Graph:
    tensors = [_parse_tensor(tensor, buffer_sizes) for tensor in graph.tables(0)]
    inputs, outputs = graph.numbers(1, "i"), graph.numbers(2, "i")
    for index in (*inputs, *outputs):
        _check_index(index, len(tensors), "an input or output of the graph")
    operators = []
    computed = {i for i, tensor in enumerate(tensors) if tensor.constant_bytes} | set(inputs)
    for table in graph.tables(3):
        opcode = table.number(0, "<I")
        _check_index(opcode, len(names), "an operator's opcode")
        operator = Operator(names[opcode], table.numbers(1, "i"), table.numbers(2, "i"))
        for position, index in enumerate(operator.inputs):
            # -1 is an optional input that is not given, such as a bias.
            if index != -1 or (position < 2 and "LSTM" not in operator.name):
                _check_index(index, len(tensors), f"an input of {operator.name}")
        for index in operator.outputs:
            _check_index(index, len(tensors), f"an output of {operator.name}")
            if index in computed:
                raise DamagedFileError(
                    f"an output of {operator.name} is computed twice or is a constant"
                )
            computed.add(index)
        table.table(4)  # checks that its options are within the file
        _check_same_shape(operator, tensors)
        operators.append(operator)
    return tensors, operators, inputs, outputs


def _parse_signature(table: Table, subgraphs: Sequence[_Graph]) -> Signature:
    name, subgraph = printable(table.text(2)), table.number(4, "<I")
    _check_index(subgraph, len(subgraphs), f"the subgraph of signature '{name}'")
    _, _, graph_inputs, graph_outputs = subgraphs[subgraph]
    sides = []
    for field, allowed in ((0, graph_inputs), (1, graph_outputs)):
        indices = tuple(entry.number(1, "<I") for entry in table.tables(field))
        if not set(indices) <= set(allowed):
            side = "an output" if field else "an input"
            raise DamagedFileError(f"signature '{name}' has {side} that its subgraph has not")
        sides.append(indices)
    return Signature(name, subgraph, *sides)


def _check_same_shape(operator: Operator, tensors: Sequence[Tensor]) -> None:
    # XNNPACK copies the data by the shape of one side, without checking the other.
    if operator.name in ("DEQUANTIZE", "QUANTIZE"):
        shapes = {tensors[i].shape for i in (*operator.inputs, *operator.outputs)}
        if len(shapes) > 1:
            raise DamagedFileError(f"{operator.name} changes a shape")


def _parse_tensor(table: Table, buffer_sizes: Sequence[int]) -> Tensor:
    shape, type_code, buffer = table.numbers(0, "i"), table.number(1, "<b"), table.number(2, "<I")
    _check_index(buffer, len(buffer_sizes), "a tensor's buffer")
    name = table.text(3)
    if any(n < 0 for n in shape) or math.prod(shape) > _MAX_ELEMENTS:
        raise DamagedFileError(f"tensor '{name}' has an invalid shape")
    dtype, width = _TENSOR_TYPES.get(type_code, (f"type {type_code}", 0))
    sparse = table.table(6) is not None
    data_bytes = buffer_sizes[buffer]
    if data_bytes and width and not sparse and data_bytes != math.prod(shape) * width:
        raise DamagedFileError(f"the shape of tensor '{name}' does not match its data")
    quantization = _parse_quantization(table.table(4), name, shape, dtype)
    if dtype == "int8" and not data_bytes and quantization == (0.0, 0):
        raise DamagedFileError(f"tensor '{name}' has no scale")
    signature = table.numbers(7, "i")
    if signature and not (
        len(signature) == len(shape)
        and all(size in (-1, n) for size, n in zip(signature, shape, strict=True))
    ):
        raise DamagedFileError(f"the shape signature of tensor '{name}' contradicts its shape")
    return Tensor(name, shape, dtype, data_bytes, quantization, signature)


def _parse_quantization(
    table: Table | None, name: str, shape: Sequence[int], dtype: str
) -> tuple[float, int]:
    if table is None:
        return 0.0, 0
    scales, zeros = table.numbers(2, "f"), table.numbers(3, "q")
    dimension = table.number(6, "<i")
    if len(scales) > 1 and (not 0 <= dimension < len(shape) or len(scales) != shape[dimension]):
        raise DamagedFileError(f"the scales of tensor '{name}' do not match its shape")
    if not all(_MIN_SCALE < scale < _MAX_SCALE for scale in scales):
        raise DamagedFileError(f"tensor '{name}' has an invalid scale")
    if len(zeros) not in ((0, 1, len(scales)) if scales else (0,)):
        raise DamagedFileError(f"the zero points of tensor '{name}' do not match its scales")
    lowest, highest = _INTEGER_LIMITS.get(dtype, (-(2**31), 2**31 - 1))
    if not all(lowest <= zero <= highest for zero in zeros):
        raise DamagedFileError(f"tensor '{name}' has a zero point outside {dtype}")
    return (scales[0], zeros[0] if zeros else 0) if len(scales) == 1 else (0.0, 0)


def _check_index(index: int, length: int, what: str) -> None:
    if not 0 <= index < length:
        raise DamagedFileError(f"{what} does not exist")
