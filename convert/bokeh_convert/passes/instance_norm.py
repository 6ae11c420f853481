"""Rewrites instance normalization in one form that is safe in float16.

Trained models implement it in many ways (moments, x * x, square root and division, TensorFlow
Addons' reshapes). Some overflow where sums are accumulated in float16: the mean of 24,576 squares
does from a mean square of 2.67 on. The form written here

- takes the mean along the rows and then along the columns, and that of the squares with average
  pooling of 2 x 2, then 4 x 4, and so on, as far as the size divides;
- scales the filters of the convolution before it per channel to a norm near one: instance norm
  cancels the factor, and the squares do not overflow (the factors are powers of two, so float32
  results do not change by a bit);
- computes `(x + (shift / scale * deviation - mean)) * (scale / deviation)`, one read and one write
  of the tensor less than `(x - mean) * ... + shift`;
- multiplies variance and epsilon by a power of two if epsilon is too small for float16.

Instance norms are found by evaluating groups of operators on test inputs, not by matching a
pattern: any group that computes instance norm is rewritten.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from bokeh_convert.graph.editor import Graph
from bokeh_convert.graph.numpy_evaluator import OPERATORS, evaluate
from bokeh_convert.graph.schema_views import (
    Op,
    Operator,
    OperatorOptions,
    Pool2DOptions,
    ReducerOptions,
    TensorType,
    pool_2d_options,
    reducer_options,
)
from bokeh_convert.passes.regions import before_reshapes, needed_for, seen_outside

_Doubles = npt.NDArray[np.float64]

MAX_OPERATORS = 24
"""Operators of one instance norm at most."""
MIN_EPSILON = 2.0**-12
"""Four times the smallest normal float16. A smaller one is scaled, together with the variance."""
MIN_SCALED_EPSILON = 2.0**-14
"""Smallest normal float16. Filters are scaled down only as far as epsilon stays above it."""
MAX_SCALED_EPSILON = 64.0
"""Filters are scaled up only as far as epsilon stays below it."""
MAX_SHIFT_SCALE_RATIO = 1000.0
"""Above it the shift is added at the end, with one more read and write of the tensor."""
_LARGEST_EPSILON = 2.0**12
"""Above it, a group of operators is taken for something else than a normalization."""
_TOLERANCE = 1e-6
_FLAT_TOLERANCE = 0.01
"""As a share of the scale; the smallest epsilons are measured with few digits."""


@dataclass(frozen=True)
class InstanceNorm:
    """`(x - mean) / sqrt(variance + epsilon) * scale + shift`, by channel.

    Attributes:
        source, target: Tensors of input and output, [1, height, width, channels].
        epsilons: Added to the biased variance, float64 [channels].
        scale, shift: float64 [channels].
        operators: The operators that compute it.
    """

    source: int
    target: int
    epsilons: _Doubles
    scale: _Doubles
    shift: _Doubles
    operators: Sequence[Operator]


def rewrite_instance_norm(graph: Graph) -> int:
    """Rewrites all instance norms in place and returns their number."""
    found = find_instance_norms(graph)
    by_target = {norm.target: norm for norm in found}
    epsilons = {norm.target: norm.epsilons * _scale_filters(graph, norm) ** 2 for norm in found}
    operators: list[Operator] = []
    for operator in graph.operators:
        norm = by_target.get(operator.outputs[0])
        if norm is None:
            operators.append(operator)
        else:
            operators += _write(graph, norm, epsilons[norm.target])
    graph.operators = operators
    graph.remove_unused()
    return len(found)


def find_instance_norms(graph: Graph) -> list[InstanceNorm]:
    """Returns the instance norms of a float32 graph, in execution order."""
    producers = graph.producers()
    sources: dict[int, None] = {}
    for operator in graph.operators:
        if graph.opcode(operator) in (Op.MEAN, Op.SUM):
            sources.setdefault(before_reshapes(graph, producers, operator.inputs[0]))
    found: dict[int, InstanceNorm] = {}
    for source in sources:
        norm = _find_from(graph, source)
        if norm is not None:
            found.setdefault(norm.target, norm)
    return list(found.values())


def _find_from(graph: Graph, source: int) -> InstanceNorm | None:
    """Returns the instance norm whose input is a tensor."""
    described = graph.tensors[source]
    if described.type != TensorType.FLOAT32 or len(described.shape) != 4 or described.shape[0] != 1:
        return None
    region = _region(graph, source)
    for target in reversed([op.outputs[0] for op in region]):
        if graph.tensors[target].shape != described.shape:
            continue
        norm = _fit(graph, needed_for(region, target), source, target)
        if norm is not None:
            return norm
    return None


def _region(graph: Graph, source: int) -> list[Operator]:
    """Returns operators that depend on nothing but a tensor and constants, in execution order."""
    known = {source}
    region: list[Operator] = []
    for operator in graph.operators:
        inputs = set(operator.inputs)
        if (
            not inputs & known
            or graph.opcode(operator) not in OPERATORS
            or graph.has_fused_activation(operator)
        ):
            continue
        if all(index in known or graph.is_constant(index) for index in inputs):
            known.add(operator.outputs[0])
            region.append(operator)
            if len(region) == MAX_OPERATORS:
                break
    return region


def _fit(graph: Graph, operators: list[Operator], source: int, target: int) -> InstanceNorm | None:
    """Returns the instance norm that operators compute; None if they compute something else.

    Two inputs of variance a^2 give `slope = scale a / sqrt(a^2 + epsilon)` each, hence
    `(a / slope)^2 = a^2 / scale^2 + epsilon / scale^2`: a straight line in a^2.
    """
    if not any(graph.opcode(operator) in (Op.MEAN, Op.SUM) for operator in operators):
        return None
    _, height, width, channels = graph.tensors[source].shape
    if not any(_depends_on_size(graph, operator) for operator in operators):
        height, width = 4, 6  # a small one is faster
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
    epsilons = np.full(channels, 1e-3)
    if alive.any():
        low, high = (np.square(a / s[alive]) for a, s in zip((small, large), slopes, strict=True))
        with np.errstate(all="ignore"):
            line = (high - low) / (large**2 - small**2)
            epsilons[alive] = _nearly_equal(low / line - small**2)
            scale[alive] = np.sign(slopes[1][alive]) / np.sqrt(line)
    if not np.isfinite(scale).all() or not np.all((epsilons > 0) & (epsilons < _LARGEST_EPSILON)):
        return None
    norm = InstanceNorm(source, target, epsilons, scale, shift[0, 0, 0], operators)
    other = noise * rng.uniform(0.01, 2, channels) + rng.uniform(-2, 2, channels)
    for values in (other, noise * small, np.zeros_like(noise)):
        expected = _instance_norm(values, norm)
        if not np.allclose(run(values), expected, rtol=_TOLERANCE, atol=_TOLERANCE):
            return None
    # In nearly flat channels epsilon decides, and it may be added elsewhere than here.
    nearly_flat = noise * np.sqrt(epsilons)
    strength = np.maximum(np.abs(scale), _TOLERANCE)  # dead channels have none
    error = (run(nearly_flat) - _instance_norm(nearly_flat, norm)) / strength
    return norm if np.all(np.abs(error) < _FLAT_TOLERANCE) else None


def _depends_on_size(graph: Graph, operator: Operator) -> bool:
    """Returns whether an operator fits, or means the same in, one height and width alone."""
    if graph.opcode(operator) in (Op.RESHAPE, Op.SUM):
        return True
    if graph.opcode(operator) == Op.MEAN and not reducer_options(operator).keepDims:
        return True  # what is left of rows or columns meets another axis
    constants = (graph.tensors[i].shape for i in operator.inputs if graph.is_constant(i))
    return any(side != 1 for shape in constants for side in list(shape)[:-1])


def _nearly_equal(epsilons: _Doubles) -> _Doubles:
    """Returns the median of measured values that are equal but for rounding, else the values."""
    median = np.median(epsilons)
    return np.full_like(epsilons, median) if np.allclose(epsilons, median, 1e-3) else epsilons


def _instance_norm(values: _Doubles, norm: InstanceNorm) -> _Doubles:
    centred = values - values.mean(axis=(1, 2), keepdims=True)
    deviation = np.sqrt(np.square(centred).mean(axis=(1, 2), keepdims=True) + norm.epsilons)
    return np.asarray(centred / deviation * norm.scale + norm.shift)


def _scale_filters(graph: Graph, norm: InstanceNorm) -> _Doubles:
    """Scales the filters of the convolution before a norm.

    Returns:
        The factor of each channel: ones if there is no convolution, or if other operators read its
        output or what the norm makes of it on the way, such as the mean.
    """
    channels = len(norm.scale)
    convolution = graph.producers().get(norm.source)
    scaled = {norm.source, *(operator.outputs[0] for operator in norm.operators)} - {norm.target}
    if (
        convolution is None
        or graph.opcode(convolution) != Op.CONV_2D
        or graph.has_fused_activation(convolution)
        or seen_outside(graph, norm.operators, scaled)
        or not all(graph.is_constant(i) for i in convolution.inputs[1:])
    ):
        return np.ones(channels)
    filters, *bias = (graph.constant(i) for i in convolution.inputs[1:])
    norms = np.sqrt(np.square(filters, dtype=np.float64).sum(axis=(1, 2, 3)))
    powers = -np.round(np.log2(np.where(norms > 0, norms, 1)))
    lowest, highest = (
        np.log2(end / norm.epsilons) / 2 for end in (MIN_SCALED_EPSILON, MAX_SCALED_EPSILON)
    )
    if np.any(lowest > 0):
        return np.ones(channels)  # a small epsilon: `_write` scales it
    powers = np.clip(powers, np.ceil(lowest), np.floor(highest))
    trained = graph.trained_ranges.get(graph.name(norm.source))
    if trained is not None:  # one range for all channels, which keep their proportions
        powers = np.full(channels, powers.min())
        low, high = (end * 2.0 ** powers[0] for end in trained)
        graph.trained_ranges[graph.name(norm.source)] = float(low), float(high)
    factors = np.exp2(powers)
    replaced = [filters * factors.reshape(-1, 1, 1, 1), *(values * factors for values in bias)]
    for slot, values in enumerate(replaced, start=1):
        name = f"{graph.name(convolution.inputs[slot])}/scaled"
        convolution.inputs[slot] = graph.add_constant(name, values.astype(np.float32))
    return factors


def _write(graph: Graph, norm: InstanceNorm, epsilons: _Doubles) -> list[Operator]:
    """Returns new operators that compute a norm; their last output is the norm's target.

    Args:
        graph: Gets their tensors.
        norm: The norm.
        epsilons: float64 [channels]; the norm's epsilon times the square of its filters' factor.
    """
    _, height, width, channels = graph.tensors[norm.source].shape
    whole, small = (1, height, width, channels), (1, 1, 1, channels)
    prefix = graph.name(norm.target)
    made: list[Operator] = []

    def compute(opcode: int, name: str, inputs: Sequence[int], shape: Sequence[int]) -> int:
        result = graph.add_tensor(f"{prefix}/{name}", TensorType.FLOAT32, shape)
        made.append(graph.new_operator(opcode, inputs, [result], _OPTIONS[opcode]()))
        return result

    def constant(name: str, values: npt.ArrayLike) -> int:
        return graph.add_constant(f"{prefix}/{name}", np.asarray(values, np.float32))

    def mean(name: str, tensor: int, factor: float = 1.0, pool: bool = False) -> int:
        """Mean along the width, then the height; after average pooling if asked for."""
        result, size, side = tensor, (height, width), 2
        while pool and size[0] % side == 0 and size[1] % side == 0:
            size = size[0] // side, size[1] // side
            pooled = f"{name}_pooled_{size[0]}"
            result = compute(Op.AVERAGE_POOL_2D, pooled, [result], (1, *size, channels))
            options = pool_2d_options(made[-1])
            options.filterHeight = options.filterWidth = options.strideH = options.strideW = side
            side = 4
        rows = (1, size[0], 1, channels)
        result = compute(Op.MEAN, f"{name}_of_rows", [result, graph.axes_constant(2)], rows)
        if factor != 1:
            by = constant(f"{name}_factor", factor)
            result = compute(Op.MUL, f"{name}_scaled", [result, by], rows)
        return compute(Op.MEAN, name, [result, graph.axes_constant(1)], small)

    # A power of four: its square root is exact too.
    doublings = max(0, math.ceil(math.log2(MIN_EPSILON / epsilons.min()) / 2))
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
    late_shift = not np.all(np.abs(ratio) <= MAX_SHIFT_SCALE_RATIO)
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
    made[-1].outputs = [norm.target]
    return made


def _mean_options() -> ReducerOptions:
    options: ReducerOptions = schema.ReducerOptionsT()
    options.keepDims = True
    return options


def _pool_options() -> Pool2DOptions:
    options: Pool2DOptions = schema.Pool2DOptionsT()
    options.padding = schema.Padding.VALID
    return options


_OPTIONS: dict[int, Callable[[], OperatorOptions | None]] = {
    Op.MEAN: _mean_options,
    Op.AVERAGE_POOL_2D: _pool_options,
    Op.ADD: schema.AddOptionsT,
    Op.SUB: schema.SubOptionsT,
    Op.MUL: schema.MulOptionsT,
    Op.SQUARED_DIFFERENCE: schema.SquaredDifferenceOptionsT,
    Op.RSQRT: lambda: None,
}
