"""Prepares a float32 file for int8: equalizes channels, chooses the ranges of activations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from ai_edge_litert import schema_py_generated as schema

from bokeh_convert.graph.editor import Graph
from bokeh_convert.graph.schema_views import Op
from bokeh_convert.passes.equalize_channels import equalize_channels
from bokeh_convert.quantize.activation_statistics import ActivationStatistics, Range
from bokeh_convert.quantize.static_int8 import QUANTIZABLE


@dataclass(frozen=True)
class EqualizedFile:
    """A float32 file that computes the same as before, and is easier to quantize.

    Attributes:
        content: The bytes of the file.
        ranges: The range of each activation for int8, by name.
        equalized: Number of activations with channels that were scaled.
    """

    content: bytes
    ranges: Mapping[str, Range]
    equalized: int


def equalize(
    float32: bytes,
    statistics: ActivationStatistics,
    trained: Mapping[str, Range],
    *,
    skip: bool = False,
) -> EqualizedFile:
    """Equalizes the channels of the activations that were measured.

    Args:
        float32: The file.
        statistics: Of the activations that will be quantized.
        trained: Ranges that training chose, by the name of the activation.
        skip: Only choose the ranges.
    """
    graph = Graph(float32)
    factors = {} if skip else equalize_channels(graph, statistics.tensors, statistics.input_copies)
    ranges = statistics.scaled(factors).smallest_error(_negative_weights(graph))
    content = graph.to_bytes() if factors else float32
    return EqualizedFile(content, {**ranges, **trained}, len(factors))


def convolution_activations(graph: Graph) -> set[str]:
    """Returns the inputs and outputs of convolutions, and of leaky ReLUs after them, by name."""
    readers = graph.consumers()
    tensors: set[int] = set()
    for operator in graph.operators:
        slots = QUANTIZABLE.get(graph.opcode(operator))
        if slots is not None:
            tensors |= {operator.inputs[slots.source], operator.outputs[0]}
            after = readers.get(operator.outputs[0], [])
            tensors |= {r.outputs[0] for r in after if graph.opcode(r) == Op.LEAKY_RELU}
    return {graph.name(tensor) for tensor in tensors}


def _negative_weights(graph: Graph) -> dict[str, float]:
    """Returns what a squared error of negative values is worth, where leaky ReLU shrinks them."""
    weights = {}
    for tensor, readers in graph.consumers().items():
        if tensor in graph.outputs or any(graph.opcode(r) != Op.LEAKY_RELU for r in readers):
            continue
        slopes = [cast(schema.LeakyReluOptionsT, reader.builtinOptions).alpha for reader in readers]
        weights[graph.name(tensor)] = min(1.0, max(float(slope) ** 2 for slope in slopes))
    return weights
