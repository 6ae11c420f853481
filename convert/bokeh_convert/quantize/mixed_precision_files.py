"""Makes files in which some convolutions are int8 and the others are float."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

from bokeh_convert.graph.cost_model import QUANTIZABLE as DYNAMIC_QUANTIZABLE
from bokeh_convert.graph.cost_model import Precision, file_cost, graph_cost
from bokeh_convert.graph.editor import Graph
from bokeh_convert.graph.schema_views import Op
from bokeh_convert.passes import GROUP_PIXELS, MERGE_CONVOLUTIONS
from bokeh_convert.passes.apply import PassResult
from bokeh_convert.passes.group_pixels import group_pixels
from bokeh_convert.passes.merge_convolutions import merge_convolutions
from bokeh_convert.quantize.activation_statistics import Range
from bokeh_convert.quantize.engine import quantize_convolutions
from bokeh_convert.quantize.static_int8 import (
    QUANTIZABLE,
    store_weights_in_float16,
    write_static_int8,
)

_START = 0.03
_ENDS = (0.0, 0.03, 0.06, 0.1, 0.13, 0.16, 0.19, 0.22)
"""Shares of the convolutions, in execution order, that stay in float at the start and the end."""


@dataclass(frozen=True)
class MixedPrecisionFile:
    """A file.

    Attributes:
        content: The bytes of the file.
        cost: Estimated instructions on a phone's CPU.
        passes: What each graph rewrite changed.
    """

    content: bytes
    cost: float
    passes: Sequence[PassResult]


class MixedPrecision(Protocol):
    """A way to make such files."""

    @property
    def float32(self) -> bytes:
        """The float32 file that all are made from."""

    @property
    def convolutions(self) -> Sequence[str]:
        """Names of the output tensors of the convolutions that can be int8, in execution order."""

    @property
    def excluded(self) -> Mapping[str, str]:
        """Why the other convolutions stay in float, by the names of their output tensors."""

    def build(self, in_float: Collection[str]) -> MixedPrecisionFile:
        """Makes a file.

        Args:
            in_float: Names of the output tensors of the convolutions that stay in float.
        """

    def first_sets(self) -> Sequence[frozenset[str]]:
        """Returns sets of convolutions that are worth trying in float before any other."""


@dataclass(frozen=True)
class DynamicRange:
    """int8 weights; the inputs are quantized at inference, and the outputs are float.

    Attributes:
        float32: The float32 file.
        skip_passes: Names of graph rewrites to leave out.
    """

    float32: bytes
    skip_passes: Collection[str] = ()

    @cached_property
    def convolutions(self) -> Sequence[str]:
        return _names(Graph(self.float32), DYNAMIC_QUANTIZABLE)

    @property
    def excluded(self) -> Mapping[str, str]:
        why = "interpreters before LiteRT do not run it with int8 weights and float activations"
        others = _names(Graph(self.float32), set(QUANTIZABLE) - set(DYNAMIC_QUANTIZABLE))
        return dict.fromkeys(others, why)

    def build(self, in_float: Collection[str]) -> MixedPrecisionFile:
        graph = Graph(self.float32)
        passes = _fill_tiles(graph, Precision.DYNAMIC, in_float, self.skip_passes)
        cost = graph_cost(graph, Precision.DYNAMIC, in_float)
        return MixedPrecisionFile(quantize_convolutions(graph.to_bytes(), in_float), cost, passes)

    def first_sets(self) -> Sequence[frozenset[str]]:
        return _start_and_end(self.convolutions)


@dataclass(frozen=True)
class StaticRange:
    """int8 weights, inputs and outputs with calibrated scales; the rest is stored in float16.

    Attributes:
        float32: The float32 file.
        ranges: (minimum, maximum) of the activations.
        skip_passes: Names of graph rewrites to leave out.
        half: Whether the CPU may compute what is float in half precision.
    """

    float32: bytes
    ranges: Mapping[str, Range]
    skip_passes: Collection[str] = ()
    half: bool = True

    @cached_property
    def convolutions(self) -> Sequence[str]:
        graph = Graph(self.float32)
        quantized = set(write_static_int8(graph, self.ranges))
        return [name for name in _names(Graph(self.float32), QUANTIZABLE) if name in quantized]

    @property
    def excluded(self) -> Mapping[str, str]:
        names = _names(Graph(self.float32), QUANTIZABLE)
        why = "its filters are not float32 constants, or int8 has no such convolution"
        return {name: why for name in names if name not in set(self.convolutions)}

    def build(self, in_float: Collection[str]) -> MixedPrecisionFile:
        graph = Graph(self.float32)
        passes = _fill_tiles(graph, Precision.STATIC, in_float, self.skip_passes)
        if self.half and GROUP_PIXELS not in self.skip_passes:
            grouped = group_pixels(graph, Precision.HALF, lambda name: name in in_float)
            passes = [
                replace(p, count=p.count + grouped * (p.name == GROUP_PIXELS)) for p in passes
            ]
        # A rewritten convolution has an output of its own, from which the former is made.
        stays = {*in_float, *_made_from(graph, in_float)}
        write_static_int8(graph, self.ranges, stays)
        store_weights_in_float16(graph)
        return MixedPrecisionFile(graph.to_bytes(), file_cost(graph, half=self.half), passes)

    def first_sets(self) -> Sequence[frozenset[str]]:
        return _start_and_end(self.convolutions)


def _start_and_end(names: Sequence[str]) -> list[frozenset[str]]:
    """Returns growing sets of convolutions at the start and the end, none first.

    An error at the end is not averaged by what follows, and one at the start goes through all of
    the network.
    """
    sets = []
    for end in _ENDS:
        first, last = math.ceil(min(_START, end) * len(names)), math.ceil(end * len(names))
        if first + last < len(names):
            sets.append(frozenset({*names[:first], *names[len(names) - last :]}))
    return list(dict.fromkeys(sets))


def _fill_tiles(
    graph: Graph, precision: Precision, in_float: Collection[str], skip: Collection[str]
) -> list[PassResult]:
    """Rewrites int8 convolutions with few channels, so that they fill the kernels' tiles."""
    passes = []
    if GROUP_PIXELS not in skip:
        grouped = group_pixels(graph, precision, lambda name: name not in in_float)
        passes.append(PassResult(GROUP_PIXELS, "convolutions that compute several pixels", grouped))
    if MERGE_CONVOLUTIONS not in skip:
        merged = merge_convolutions(graph, precision, in_float)
        passes.append(PassResult(MERGE_CONVOLUTIONS, "convolutions merged into another", merged))
    return passes


def _made_from(graph: Graph, tensors: Collection[str]) -> set[str]:
    """Returns the outputs of the grouped convolutions whose RESHAPE gives one of the tensors.

    A convolution that was not grouped gives its tensor itself; what it reads is another's output.
    """
    return {
        graph.name(operator.inputs[0])
        for operator in graph.operators
        if graph.opcode(operator) == Op.RESHAPE and graph.name(operator.outputs[0]) in tensors
    }


def _names(graph: Graph, opcodes: Collection[int]) -> list[str]:
    return [
        graph.name(operator.outputs[0])
        for operator in graph.operators
        if graph.opcode(operator) in opcodes
    ]
