"""Writes instance norm in one form, which survives half precision.

Trained models spell it in many ways (moments, x * x, square root and division, TensorFlow Addons'
reshapes). Some overflow where sums are accumulated in float16: the mean of 24,576 squares does
from a mean square of 2.67 on. The form written here

- takes the mean along the rows and then along the columns, and that of the squares in groups of
  2 x 2, then of 4 x 4 of those, and so on: no sum of squares has more than 4 terms;
- scales the convolution before it, channel by channel, so that its filters have a norm near one:
  instance norm takes the factor out again, and no square overflows (powers of two, so that not a
  bit changes in float32);
- computes `(x + (shift / scale * deviation - mean)) * (scale / deviation)`, which reads and writes
  the tensor once less than `(x - mean) * ... + shift`, and whose rounding error is that of its
  result;
- multiplies variance and epsilon by a power of two if epsilon is so small that float16 loses it.

What a group of operators computes is found by running it, not by its spelling: whatever maps
photos as instance norm does is instance norm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from bokeh_convert.graph.editor import Graph, Kind, Op
from bokeh_convert.graph.numpy_evaluator import OPERATORS, evaluate

_Doubles = npt.NDArray[np.float64]

MOST_OPERATORS = 24
"""Of one instance norm, however it is spelt."""
LEAST_EPSILON = 2.0**-12
"""Four times the smallest normal float16. A smaller epsilon is scaled up with its variance."""
LEAST_SCALED_EPSILON = 2.0**-14
"""The smallest normal float16: a filter is not scaled down further than this allows."""
MOST_EPSILON = 64.0
"""A filter is not scaled up further than this."""
MOST_RATIO = 1000.0
"""Of shift to scale; above it the shift is added at the end, at the price of another pass."""
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class InstanceNorm:
    """`(x - mean) / sqrt(variance + epsilon) * scale + shift`, by channel.

    Attributes:
        source, target: Tensors x and the result, [1, height, width, channels].
        epsilon: Added to the biased variance.
        scale, shift: [channels].
        operators: That compute it.
    """

    source: int
    target: int
    epsilon: float
    scale: _Doubles
    shift: _Doubles
    operators: Sequence[Any]


def rewrite_instance_norm(graph: Graph) -> int:
    """Rewrites every instance norm in place and returns how many there were."""
    found = find_instance_norms(graph)
    by_target = {norm.target: norm for norm in found}
    epsilons = {norm.target: norm.epsilon * _scale_filters(graph, norm) ** 2 for norm in found}
    operators: list[Any] = []
    for operator in graph.operators:
        norm = by_target.get(int(operator.outputs[0]))
        if norm is None:
            operators.append(operator)
        else:
            operators += _write(graph, norm, epsilons[norm.target])
    graph.operators = operators
    graph.drop_unused()
    return len(found)


def find_instance_norms(graph: Graph) -> list[InstanceNorm]:
    """Returns the instance norms of a float32 graph, in their order."""
    made_by = graph.makers()
    sources: dict[int, None] = {}
    for operator in graph.operators:
        if graph.kind(operator) in (Op.MEAN, Op.SUM):
            sources.setdefault(_before_reshapes(graph, made_by, int(operator.inputs[0])))
    found: dict[int, InstanceNorm] = {}
    for source in sources:
        norm = _from(graph, source)
        if norm is not None:
            found.setdefault(norm.target, norm)
    return list(found.values())


def _before_reshapes(graph: Graph, made_by: dict[int, Any], tensor: int) -> int:
    while tensor in made_by and graph.kind(made_by[tensor]) == Op.RESHAPE:
        tensor = int(made_by[tensor].inputs[0])
    return tensor


def _from(graph: Graph, source: int) -> InstanceNorm | None:
    """Returns the instance norm that begins with a tensor."""
    described = graph.tensors[source]
    if described.type != Kind.FLOAT32 or len(described.shape) != 4 or described.shape[0] != 1:
        return None
    region = _region(graph, source)
    shape = list(described.shape)
    candidates = [int(op.outputs[0]) for op in region]
    for target in reversed(candidates):
        if list(graph.tensors[target].shape) != shape:
            continue
        norm = _fit(graph, _slice(region, target), source, target)
        if norm is not None:
            return norm
    return None


def _region(graph: Graph, source: int) -> list[Any]:
    """Returns the operators that read nothing but a tensor, constants, and each other."""
    known = {source}
    region: list[Any] = []
    for operator in graph.operators:
        inputs = {int(index) for index in operator.inputs}
        if not inputs & known or graph.kind(operator) not in OPERATORS or graph.fused(operator):
            continue
        if all(index in known or graph.is_constant(index) for index in inputs):
            known.add(int(operator.outputs[0]))
            region.append(operator)
            if len(region) == MOST_OPERATORS:
                break
    return region


def _slice(region: Sequence[Any], target: int) -> list[Any]:
    """Returns those of the operators that a tensor needs."""
    needed, kept = {target}, []
    for operator in reversed(region):
        if int(operator.outputs[0]) in needed:
            needed |= {int(index) for index in operator.inputs}
            kept.append(operator)
    return kept[::-1]


def _fit(graph: Graph, operators: list[Any], source: int, target: int) -> InstanceNorm | None:
    """Returns the instance norm that operators compute; None if they compute something else.

    Two inputs of known variance a^2 give `slope = scale a / sqrt(a^2 + epsilon)` each, hence
    `(a / slope)^2 = a^2 / scale^2 + epsilon / scale^2`: a straight line in a^2.
    """
    if not any(graph.kind(operator) in (Op.MEAN, Op.SUM) for operator in operators):
        return None
    _, height, width, channels = (int(side) for side in graph.tensors[source].shape)
    if not any(graph.kind(operator) in (Op.RESHAPE, Op.SUM) for operator in operators):
        height, width = 4, 6  # nothing depends on the size: let it be quick
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((1, height, width, channels))
    noise -= noise.mean(axis=(1, 2), keepdims=True)
    noise /= noise.std(axis=(1, 2), keepdims=True)

    def run(values: _Doubles) -> _Doubles:
        return np.asarray(evaluate(graph, operators, {source: values}, np.float64)[target])

    small, large = math.sqrt(1e-3), 1.0
    shift = run(np.zeros_like(noise))
    if shift.shape != noise.shape:
        return None
    slopes = [np.mean(run(noise * a) * noise, axis=(0, 1, 2)) for a in (small, large)]
    scale = np.zeros(channels)
    alive = np.all(np.isfinite(slopes) & (np.abs(slopes) > 1e-12), axis=0)
    epsilon = 1e-3
    if alive.any():
        low, high = (np.square(a / s[alive]) for a, s in zip((small, large), slopes, strict=True))
        with np.errstate(all="ignore"):
            line = (high - low) / (large**2 - small**2)
            epsilon = float(np.median(low / line - small**2))
            scale[alive] = np.sign(slopes[1][alive]) / np.sqrt(line)
    if not np.isfinite(scale).all() or not 0 < epsilon < 1:
        return None
    norm = InstanceNorm(source, target, epsilon, scale, shift[0, 0, 0], operators)
    other = noise * rng.uniform(0.01, 2, channels) + rng.uniform(-2, 2, channels)
    for values in (other, noise * small, np.zeros_like(noise)):
        expected = _instance_norm(values, norm)
        if not np.allclose(run(values), expected, rtol=_TOLERANCE, atol=_TOLERANCE):
            return None
    return norm


def _instance_norm(values: _Doubles, norm: InstanceNorm) -> _Doubles:
    centred = values - values.mean(axis=(1, 2), keepdims=True)
    deviation = np.sqrt(np.square(centred).mean(axis=(1, 2), keepdims=True) + norm.epsilon)
    return np.asarray(centred / deviation * norm.scale + norm.shift)


def _scale_filters(graph: Graph, norm: InstanceNorm) -> _Doubles:
    """Scales the convolution before a norm; returns the factor of each channel.

    Ones if something else reads the convolution's result, or if there is no convolution.
    """
    channels = len(norm.scale)
    convolution = graph.makers().get(norm.source)
    inside = {id(operator) for operator in norm.operators}
    if (
        convolution is None
        or graph.kind(convolution) != Op.CONV_2D
        or graph.fused(convolution)
        or norm.source in graph.outputs
        or not all(id(reader) in inside for reader in graph.readers()[norm.source])
        or not all(graph.is_constant(int(i)) for i in convolution.inputs[1:])
    ):
        return np.ones(channels)
    filters, *bias = (graph.constant(int(i)) for i in convolution.inputs[1:])
    norms = np.sqrt(np.square(filters, dtype=np.float64).sum(axis=(1, 2, 3)))
    powers = -np.round(np.log2(np.where(norms > 0, norms, 1)))
    least, most = (
        math.log2(end / norm.epsilon) / 2 for end in (LEAST_SCALED_EPSILON, MOST_EPSILON)
    )
    if least > 0:
        return np.ones(channels)  # a small epsilon, which `_write` scales
    factors = np.exp2(np.clip(powers, math.ceil(least), math.floor(most)))
    scaled = [filters * factors.reshape(-1, 1, 1, 1), *(values * factors for values in bias)]
    for slot, values in enumerate(scaled, start=1):
        name = f"{graph.name(int(convolution.inputs[slot]))}/scaled"
        convolution.inputs[slot] = graph.add_constant(name, values.astype(np.float32))
    return factors


def _write(graph: Graph, norm: InstanceNorm, epsilons: _Doubles) -> list[Any]:
    """Returns the operators that compute a norm into its target.

    Args:
        graph: Where they go.
        norm: What they compute.
        epsilons: [channels]; the norm's own, by the square of the factor of its source.
    """
    _, height, width, channels = (int(side) for side in graph.tensors[norm.source].shape)
    whole, small = (1, height, width, channels), (1, 1, 1, channels)
    prefix = graph.name(norm.target)
    made: list[Any] = []

    def compute(kind: int, what: str, inputs: Sequence[int], shape: Sequence[int]) -> int:
        result = graph.add_tensor(f"{prefix}/{what}", Kind.FLOAT32, shape)
        made.append(graph.operator(kind, inputs, [result], _OPTIONS[kind]()))
        return result

    def constant(what: str, values: Any) -> int:
        return graph.add_constant(f"{prefix}/{what}", np.asarray(values, np.float32))

    def mean(what: str, tensor: int, factor: float = 1.0, pool: bool = False) -> int:
        """Along each row, then of the rows; of pooled values if asked, as far as they fit."""
        result, size, side = tensor, (height, width), 2
        while pool and size[0] % side == 0 and size[1] % side == 0:
            size = size[0] // side, size[1] // side
            name = f"{what}_pooled_{size[0]}"
            result = compute(Op.AVERAGE_POOL_2D, name, [result], (1, *size, channels))
            options = made[-1].builtinOptions
            options.filterHeight = options.filterWidth = options.strideH = options.strideW = side
            side = 4
        rows = (1, size[0], 1, channels)
        result = compute(Op.MEAN, f"{what}_of_rows", [result, graph.axes(2)], rows)
        if factor != 1:
            by = constant(f"{what}_factor", factor)
            result = compute(Op.MUL, f"{what}_scaled", [result, by], rows)
        return compute(Op.MEAN, what, [result, graph.axes(1)], small)

    # A power of four, so that its root is exact too.
    doublings = max(0, math.ceil(math.log2(LEAST_EPSILON / epsilons.min()) / 2))
    factor, root = 4.0**doublings, 2.0**doublings
    average = mean("mean", norm.source)
    squares = compute(Op.SQUARED_DIFFERENCE, "squares", [norm.source, average], whole)
    variance = mean("variance", squares, factor, pool=True)
    epsilon = constant("epsilon", (epsilons * factor).reshape(small))
    variance = compute(Op.ADD, "variance_epsilon", [variance, epsilon], small)
    inverse = compute(Op.RSQRT, "inverse_deviation", [variance], small)
    scale = constant("scale", (norm.scale * root).reshape(small))
    factors = compute(Op.MUL, "factors", [inverse, scale], small)
    with np.errstate(all="ignore"):
        ratio = np.where(norm.shift == 0, 0, norm.shift / norm.scale)
    late_shift = not np.all(np.abs(ratio) <= MOST_RATIO)
    if ratio.any() and not late_shift:
        deviation = compute(Op.MUL, "deviation", [variance, inverse], small)
        ratios = constant("shift_by_scale", (ratio / root).reshape(small))
        shifts = compute(Op.MUL, "shifts", [deviation, ratios], small)
        offsets = compute(Op.SUB, "offsets", [shifts, average], small)
        centred = compute(Op.ADD, "centred", [norm.source, offsets], whole)
    else:
        centred = compute(Op.SUB, "centred", [norm.source, average], whole)
    last = compute(Op.MUL, "normed", [centred, factors], whole)
    if late_shift:
        compute(Op.ADD, "shifted", [last, constant("shift", norm.shift.reshape(small))], whole)
    made[-1].outputs = np.array([norm.target], np.int32)
    return made


def _mean_options() -> Any:
    options = schema.ReducerOptionsT()
    options.keepDims = True
    return options


def _pool_options() -> Any:
    options = schema.Pool2DOptionsT()
    options.padding = schema.Padding.VALID
    return options


_OPTIONS: dict[int, Any] = {
    Op.MEAN: _mean_options,
    Op.AVERAGE_POOL_2D: _pool_options,
    Op.ADD: schema.AddOptionsT,
    Op.SUB: schema.SubOptionsT,
    Op.MUL: schema.MulOptionsT,
    Op.SQUARED_DIFFERENCE: schema.SquaredDifferenceOptionsT,
    Op.RSQRT: lambda: None,
}
