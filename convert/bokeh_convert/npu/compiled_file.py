"""Reads a file that was compiled for an NPU: its compiled parts, and what is left to the CPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ai_edge_litert import schema_py_generated as schema
from flatbuffers import flexbuffers

from bokeh_runtime.errors import InputError
from bokeh_runtime.tflite.file import Tensor, TfliteFile, parse_tflite

DISPATCH_OP = "DISPATCH_OP"
"""Name of the custom operator that stands for a compiled part."""


@dataclass(frozen=True)
class CompiledPart:
    """A part of the graph in the NPU's own format.

    Attributes:
        name: Name of its entry point.
        content: Its bytes.
        inputs, outputs: Its tensors.
    """

    name: str
    content: bytes
    inputs: Sequence[Tensor]
    outputs: Sequence[Tensor]


def left_operators(file: TfliteFile) -> Mapping[str, int]:
    """Returns how often each operator occurs that was not compiled."""
    return Counter(each.name for each in file.operators if each.name != DISPATCH_OP)


def compiled_parts(content: bytes) -> list[CompiledPart]:
    """Returns the compiled parts of a file, in execution order.

    Raises:
        InputError: If the place that the file names for a part is not in the file.
    """
    file = parse_tflite(Path("the compiled file"), content)
    graph = schema.ModelT.InitFromPackedBuf(content, 0).subgraphs[0]
    parts = []
    for operator, raw in zip(file.operators, graph.operators, strict=True):
        if operator.name != DISPATCH_OP:
            continue
        options = flexbuffers.Loads(bytes(raw.customOptions))
        start, size = options["bytecode_offset"], options["bytecode_size"]
        part = content[start : start + size]
        if start <= 0 or size <= 0 or len(part) != size:
            raise InputError(f"the compiled part {options['name']!r} is not in the file")
        parts.append(
            CompiledPart(
                options["name"],
                part,
                [file.tensors[index] for index in operator.inputs],
                [file.tensors[index] for index in operator.outputs],
            )
        )
    return parts
