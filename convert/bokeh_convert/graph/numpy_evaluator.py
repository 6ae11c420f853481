"""Evaluates a few elementwise operators and reductions with NumPy, in a precision of choice.

In float64 this finds out what a part of a graph computes; in float16 it shows the error on a GPU
that accumulates sums in half precision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import numpy.typing as npt

from bokeh_convert.graph.editor import Graph
from bokeh_convert.graph.schema_views import (
    Op,
    Operator,
    Pool2DOptions,
    pool_2d_options,
    reducer_options,
)

Values = npt.NDArray[np.floating]

_ELEMENTWISE: Mapping[int, Callable[..., Values]] = {
    Op.ADD: np.add,
    Op.SUB: np.subtract,
    Op.MUL: np.multiply,
    Op.DIV: np.divide,
    Op.POW: np.power,
    Op.SQUARE: np.square,
    Op.SQRT: np.sqrt,
    Op.NEG: np.negative,
    Op.RSQRT: lambda x: x.dtype.type(1) / np.sqrt(x),
    Op.SQUARED_DIFFERENCE: lambda a, b: np.square(a - b),
}
_REDUCTIONS = (Op.MEAN, Op.SUM)
OPERATORS = frozenset({*_ELEMENTWISE, *_REDUCTIONS, Op.RESHAPE})
"""What `evaluate` supports, besides AVERAGE_POOL_2D with a stride equal to its square filter."""


def evaluate(
    graph: Graph, operators: Iterable[Operator], given: Mapping[int, Values], dtype: npt.DTypeLike
) -> dict[int, Values]:
    """Runs operators one after the other.

    Args:
        graph: The graph that contains them.
        operators: Supported ones, without fused activations, in execution order.
        given: Values of input tensors, by index. Constants are read from the graph.
        dtype: Of every tensor; sums are accumulated in it term by term. In float16, values below
            the smallest normal number become zero, as on GPUs.

    Returns:
        Values of all tensors by index: inputs, constants and outputs.
    """
    values = {index: _rounded(value, dtype) for index, value in given.items()}

    def value(index: int) -> Values:
        if index not in values:
            values[index] = _rounded(graph.constant(index), dtype)
        return values[index]

    with np.errstate(all="ignore"):  # overflow is what the caller wants to see
        for operator in operators:
            opcode, (target,) = graph.opcode(operator), operator.outputs
            sources = operator.inputs
            if opcode == Op.RESHAPE:
                result = value(sources[0]).reshape(graph.tensors[target].shape)
            elif opcode == Op.AVERAGE_POOL_2D:
                result = _average_pool(value(sources[0]), pool_2d_options(operator))
            elif opcode in _REDUCTIONS:
                axes = tuple(int(axis) for axis in graph.constant(sources[1]).ravel())
                keep = bool(reducer_options(operator).keepDims)
                result = _sum(value(sources[0]), axes, keep=keep, mean=opcode == Op.MEAN)
            else:
                result = _ELEMENTWISE[opcode](*(value(index) for index in sources))
            values[target] = _rounded(result, dtype)
    return values


def _rounded(values: npt.NDArray[np.number], dtype: npt.DTypeLike) -> Values:
    rounded: Values = np.array(values, dtype)
    if rounded.dtype == np.float16:
        rounded[np.abs(rounded) < np.finfo(np.float16).smallest_normal] = 0
    return rounded


def _average_pool(values: Values, options: Pool2DOptions) -> Values:
    """Averages over squares that neither overlap nor leave a margin."""
    side = options.filterHeight
    batch, height, width, channels = values.shape
    squares = values.reshape(batch, height // side, side, width // side, side, channels)
    return _sum(squares, (2, 4), keep=False, mean=True)


def _sum(values: Values, axes: tuple[int, ...], *, keep: bool, mean: bool) -> Values:
    axes = tuple(axis % values.ndim for axis in axes)
    kept = [axis for axis in range(values.ndim) if axis not in axes]
    terms = values.transpose(*axes, *kept).reshape(-1, *(values.shape[axis] for axis in kept))
    # Not np.sum: its pairwise summation has a smaller rounding error than a plain accumulator.
    total: Values = np.add.accumulate(terms, axis=0, dtype=values.dtype)[-1]
    if mean:
        total = total / values.dtype.type(len(terms))
    shape = [1 if axis in axes else side for axis, side in enumerate(values.shape)]
    return total.reshape(shape) if keep else total
