"""Plain NumPy kernels of a few elementwise operators and means, in a precision of the caller's.

In float64 they tell what a part of a graph computes; in float16 they show what is left of it where
sums are accumulated in half precision, as some GPUs do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from bokeh_convert.graph.editor import Graph, Op

Values = npt.NDArray[np.floating]

_ELEMENTWISE: Mapping[int, np.ufunc | Any] = {
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
_SUMS = (Op.MEAN, Op.SUM)
OPERATORS = frozenset({*_ELEMENTWISE, *_SUMS, Op.RESHAPE})
"""What `evaluate` knows, besides AVERAGE_POOL_2D over squares that do not overlap."""


def evaluate(
    graph: Graph, operators: Iterable[Any], given: Mapping[int, Values], dtype: npt.DTypeLike
) -> dict[int, Values]:
    """Runs operators in their order.

    Args:
        graph: Where they stand.
        operators: Of the known ones, without fused activations.
        given: Values of tensors, by index. Constants need not be given.
        dtype: In which every value is held, and every sum accumulated term by term. In float16
            values below its smallest normal number become zero, as GPUs do.

    Returns:
        All tensors: those given and those made.
    """
    values = {index: _held(value, dtype) for index, value in given.items()}

    def value(index: int) -> Values:
        if index not in values:
            values[index] = _held(graph.constant(index), dtype)
        return values[index]

    with np.errstate(all="ignore"):  # overflow is what the caller wants to see
        for operator in operators:
            kind, (target,) = graph.kind(operator), operator.outputs
            sources = [int(index) for index in operator.inputs]
            if kind == Op.RESHAPE:
                shape = [int(side) for side in graph.tensors[target].shape]
                result = value(sources[0]).reshape(shape)
            elif kind == Op.AVERAGE_POOL_2D:
                result = _pooled(value(sources[0]), operator.builtinOptions)
            elif kind in _SUMS:
                axes = tuple(int(axis) for axis in graph.constant(sources[1]).ravel())
                keep = bool(operator.builtinOptions.keepDims)
                result = _sum(value(sources[0]), axes, keep=keep, mean=kind == Op.MEAN)
            else:
                result = _ELEMENTWISE[kind](*(value(index) for index in sources))
            values[int(target)] = _held(result, dtype)
    return values


def _held(values: npt.NDArray[Any], dtype: npt.DTypeLike) -> Values:
    held: Values = np.array(values, dtype)
    if held.dtype == np.float16:
        held[np.abs(held) < np.finfo(np.float16).smallest_normal] = 0
    return held


def _pooled(values: Values, options: Any) -> Values:
    """Averages over squares that neither overlap nor leave a margin."""
    side = int(options.filterHeight)
    batch, height, width, channels = values.shape
    squares = values.reshape(batch, height // side, side, width // side, side, channels)
    return _sum(squares, (2, 4), keep=False, mean=True)


def _sum(values: Values, axes: tuple[int, ...], *, keep: bool, mean: bool) -> Values:
    axes = tuple(axis % values.ndim for axis in axes)
    kept = [axis for axis in range(values.ndim) if axis not in axes]
    terms = values.transpose(*axes, *kept).reshape(-1, *(values.shape[axis] for axis in kept))
    # Not np.sum, which adds in pairs and so hides what a plain accumulator loses.
    total: Values = np.add.accumulate(terms, axis=0, dtype=values.dtype)[-1]
    if mean:
        total = total / values.dtype.type(len(terms))
    shape = [1 if axis in axes else side for axis, side in enumerate(values.shape)]
    return total.reshape(shape) if keep else total
