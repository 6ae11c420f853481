from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from bokeh_convert.graph.editor import Graph
from bokeh_convert.graph.numpy_evaluator import evaluate
from bokeh_convert.graph.op_inventory import count_operators
from bokeh_convert.graph.schema_views import Op
from bokeh_convert.passes.instance_norm import find_instance_norms, rewrite_instance_norm
from bokeh_convert.quantize.engine import quantize_convolutions
from bokeh_runtime import TfliteModel

CHANNELS = 4
SCALE = np.array([1.5, -0.5, 0.02, 2.0], np.float32)
SHIFT = np.array([0.3, 0.0, -1.0, 5.0], np.float32)
Form = Callable[[Any, float], Any]


def moments(x: Any, epsilon: float) -> Any:
    """As the authors' graphs are written."""
    mean, variance = tf.nn.moments(x, (1, 2), keepdims=True)
    return tf.nn.batch_normalization(x, mean, variance, SHIFT, SCALE, epsilon)


def centred_first(x: Any, epsilon: float) -> Any:
    mean = tf.reduce_mean(x, (1, 2), keepdims=True)
    variance = tf.reduce_mean(tf.square(x - mean), (1, 2), keepdims=True)
    return (x - mean) * (tf.math.rsqrt(variance + epsilon) * SCALE) + SHIFT


def mean_of_squares(x: Any, epsilon: float) -> Any:
    mean = tf.reduce_mean(x, (1, 2), keepdims=True)
    variance = tf.reduce_mean(x * x, (1, 2), keepdims=True) - mean * mean
    return SCALE * (x - mean) / tf.sqrt(variance + epsilon) + SHIFT


def power(x: Any, epsilon: float) -> Any:
    mean = tf.reduce_mean(x, (1, 2), keepdims=True)
    variance = tf.reduce_mean(tf.math.squared_difference(x, mean), (1, 2), keepdims=True)
    return (x - mean) * tf.pow(variance + epsilon, -0.5) * SCALE + SHIFT


def sums(x: Any, epsilon: float) -> Any:
    count = x.shape[1] * x.shape[2]
    mean = tf.reduce_sum(x, (1, 2), keepdims=True) / count
    variance = tf.reduce_sum(tf.square(x - mean), (1, 2), keepdims=True) / count
    return (x - mean) / tf.sqrt(variance + epsilon) * SCALE + SHIFT


def addons(x: Any, epsilon: float) -> Any:
    """As TensorFlow Addons' InstanceNormalization, which is a group norm of one channel each."""
    groups = tf.reshape(x, (1, x.shape[1], x.shape[2], CHANNELS, 1))
    mean, variance = tf.nn.moments(groups, (1, 2, 4), keepdims=True)
    scale, shift = (values.reshape(1, 1, 1, CHANNELS, 1) for values in (SCALE, SHIFT))
    normed = tf.nn.batch_normalization(groups, mean, variance, shift, scale, epsilon)
    return tf.reshape(normed, x.shape)


FORMS = (moments, centred_first, mean_of_squares, power, sums, addons)


def lowered(form: Form, size: tuple[int, int] = (8, 12), epsilon: float = 1e-3) -> bytes:
    """An instance norm between two other operators."""

    def network(x: Any) -> Any:
        return tf.nn.leaky_relu(form(tf.nn.leaky_relu(x, 0.5), epsilon), 0.2)

    concrete = tf.function(network).get_concrete_function(
        tf.TensorSpec((1, *size, CHANNELS), tf.float32)
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], network)
    return bytes(converter.convert())


def rewritten(content: bytes) -> tuple[bytes, int]:
    graph = Graph(content)
    count = rewrite_instance_norm(graph)
    return graph.to_bytes(), count


@pytest.mark.parametrize("form", FORMS)
def test_every_spelling_is_found_with_its_constants(form: Form) -> None:
    (norm,) = find_instance_norms(Graph(lowered(form)))
    assert norm.epsilons == pytest.approx(np.full(len(norm.scale), 1e-3), rel=1e-5)
    np.testing.assert_allclose(norm.scale, SCALE, rtol=1e-5)
    np.testing.assert_allclose(norm.shift, SHIFT, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_the_picture_stays(form: Form, rng: np.random.Generator) -> None:
    before = lowered(form)
    after, count = rewritten(before)
    assert count == 1
    photo = rng.random((8, 12, CHANNELS), dtype=np.float32)
    expected = TfliteModel(before, threads=1).run(photo)
    np.testing.assert_allclose(TfliteModel(after, threads=1).run(photo), expected, atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_no_pass_over_the_tensor_is_added(form: Form) -> None:
    def passes(content: bytes) -> int:
        graph = Graph(content)
        (source,) = graph.inputs
        whole = np.prod(graph.tensors[source].shape)
        ends = (tensor for op in graph.operators for tensor in (*op.inputs, *op.outputs))
        return sum(np.prod(graph.tensors[i].shape) == whole for i in ends if i >= 0)

    before = lowered(form)
    assert passes(rewritten(before)[0]) <= passes(before)


def test_only_operators_that_accelerators_run_are_written() -> None:
    after, _ = rewritten(lowered(addons))
    assert set(count_operators(after)) == {
        "ADD", "AVERAGE_POOL_2D", "LEAKY_RELU", "MEAN", "MUL", "RSQRT", "SQUARED_DIFFERENCE", "SUB",
    }  # fmt: skip


def deviation_plus_epsilon(x: Any, epsilon: float) -> Any:
    mean, variance = tf.nn.moments(x, (1, 2), keepdims=True)
    return (x - mean) / (tf.sqrt(variance) + epsilon) * SCALE + SHIFT


def layer_norm(x: Any, epsilon: float) -> Any:
    mean, variance = tf.nn.moments(x, (1, 2, 3), keepdims=True)
    return tf.nn.batch_normalization(x, mean, variance, SHIFT, SCALE, epsilon)


def mean_alone(x: Any, epsilon: float) -> Any:
    return x - tf.reduce_mean(x, (1, 2), keepdims=True)


@pytest.mark.parametrize("form", [deviation_plus_epsilon, layer_norm, mean_alone])
def test_what_is_no_instance_norm_is_left_alone(form: Form) -> None:
    before = lowered(form)
    after, count = rewritten(before)
    assert count == 0
    assert count_operators(after) == count_operators(before)


def test_a_norm_beside_other_readers_of_its_input_is_found() -> None:
    def with_detour(x: Any, epsilon: float) -> Any:
        return centred_first(x, epsilon) + tf.nn.relu(mean_alone(x, epsilon))

    before = lowered(with_detour)
    after, count = rewritten(before)
    assert count == 1
    photo = np.linspace(0, 1, 8 * 12 * CHANNELS, dtype=np.float32).reshape(8, 12, CHANNELS)
    expected = TfliteModel(before, threads=1).run(photo)
    np.testing.assert_allclose(TfliteModel(after, threads=1).run(photo), expected, atol=1e-5)


# PyNET's level 2 at 512 x 768: 24,576 values to a channel.
SIZE = (128, 192)


def half_and_double(content: bytes, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the norm's operators give in accumulated float16 and in float64."""
    graph = Graph(content)
    inside = [op for op in graph.operators if graph.opcode(op) != Op.LEAKY_RELU]
    first, last = (op for op in graph.operators if graph.opcode(op) == Op.LEAKY_RELU)
    source, target = int(first.outputs[0]), int(last.inputs[0])
    held = values.astype(np.float16)  # what a convolution in half precision hands over
    half, double = (
        evaluate(graph, inside, {source: held}, dtype)[target] for dtype in (np.float16, np.float64)
    )
    return half.astype(np.float64), double


@pytest.mark.parametrize(
    ("mean", "deviation", "epsilon"),
    [(0.0, 1.8, 1e-3), (0.5, 20.0, 1e-3), (3.0, 4.0, 1e-3), (0.0, 0.03, 1e-3), (0.0, 0.03, 1e-5)],
)
def test_half_precision_holds_where_the_plain_form_fails(
    mean: float, deviation: float, epsilon: float, rng: np.random.Generator
) -> None:
    values = mean + deviation * rng.standard_normal((1, *SIZE, CHANNELS))
    before = lowered(centred_first, SIZE, epsilon)
    half, double = half_and_double(before, values)
    plain_error = np.abs(half - double).max() if np.isfinite(half).all() else np.inf
    half, double = half_and_double(rewritten(before)[0], values)
    error = np.abs(half - double).max()
    assert error < 0.02 * np.abs(SCALE).max() + np.abs(SHIFT).max() * 2**-9
    assert plain_error > 5 * error


@pytest.mark.parametrize(("gain", "norm"), [(0.01, 1), (1, 1), (100, 25)])
def test_filters_before_it_get_a_norm_near_one(gain: float, norm: float, rng) -> None:
    filters = gain * rng.standard_normal((3, 3, CHANNELS, CHANNELS)).astype(np.float32) / 6
    bias = rng.standard_normal(CHANNELS).astype(np.float32)

    def convolved(x: Any, epsilon: float) -> Any:
        return centred_first(tf.nn.conv2d(x, filters, 1, "SAME") + bias, epsilon)

    before = lowered(convolved)
    after, count = rewritten(before)
    assert count == 1
    graph = Graph(after)
    (convolution,) = (op for op in graph.operators if graph.opcode(op) == Op.CONV_2D)
    norms = np.sqrt(np.square(graph.constant(int(convolution.inputs[1]))).sum(axis=(1, 2, 3)))
    # As far as the epsilon stays a normal float16: by half at most.
    np.testing.assert_allclose(norms, norm, rtol=0.6)
    photo = rng.random((8, 12, CHANNELS), dtype=np.float32)
    expected = TfliteModel(before, threads=1).run(photo)
    np.testing.assert_allclose(TfliteModel(after, threads=1).run(photo), expected, atol=1e-5)


def test_convolutions_with_one_bias_between_them_can_be_quantized(rng) -> None:
    filters = rng.standard_normal((2, 3, 3, CHANNELS, CHANNELS)).astype(np.float32) * 30

    def twice(x: Any, epsilon: float) -> Any:
        for each in filters:  # no bias: the converter gives both the same zeros
            x = tf.nn.leaky_relu(centred_first(tf.nn.conv2d(x, each, 1, "SAME"), epsilon), 0.2)
        return x

    after, count = rewritten(lowered(twice))
    assert count == 2
    names = [tensor.name for tensor in Graph(after).tensors]
    assert len(set(names)) == len(names)
    assert count_operators(quantize_convolutions(after, ()))["CONV_2D"] == 2


def test_filters_that_others_read_keep_their_scale(rng) -> None:
    filters = 50 * rng.standard_normal((3, 3, CHANNELS, CHANNELS)).astype(np.float32)

    def shared(x: Any, epsilon: float) -> Any:
        x = tf.nn.conv2d(x, filters, 1, "SAME")
        return centred_first(x, epsilon) + tf.nn.relu(x)

    before = lowered(shared)
    after, count = rewritten(before)
    assert count == 1
    photo = rng.random((8, 12, CHANNELS), dtype=np.float32)
    expected = TfliteModel(before, threads=1).run(photo)
    made = TfliteModel(after, threads=1).run(photo)
    np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-4)


def test_a_flat_channel_keeps_its_epsilon() -> None:
    """Without it a flat photo's channels would be divided by zero."""
    before = lowered(centred_first, SIZE, 1e-5)
    flat = np.full((1, *SIZE, CHANNELS), 0.25)
    plain, _ = half_and_double(before, flat)
    assert not np.allclose(plain, SHIFT, atol=1)
    half, _ = half_and_double(rewritten(before)[0], flat)
    np.testing.assert_allclose(half, np.broadcast_to(SHIFT, half.shape), atol=0.03)


def test_a_norm_of_the_whole_image_is_left_alone(rng) -> None:
    """Its scale and shift have a value for each pixel."""
    scale, shift = rng.standard_normal((2, 8, 12, CHANNELS)).astype(np.float32)

    def layer_norm(x: Any, epsilon: float) -> Any:
        mean, variance = tf.nn.moments(x, (1, 2, 3), keepdims=True)
        return (x - mean) * tf.math.rsqrt(variance + epsilon) * scale + shift

    before = lowered(layer_norm)
    after, count = rewritten(before)
    assert count == 0
    assert count_operators(after) == count_operators(before)


def gate_of_the_mean(x: Any, epsilon: float) -> Any:
    mean, variance = tf.nn.moments(x, (1, 2), keepdims=True)
    normed = (x - mean) * tf.math.rsqrt(variance + epsilon) * SCALE + SHIFT
    return normed * tf.sigmoid(mean)


def two_heads(x: Any, epsilon: float) -> Any:
    mean, variance = tf.nn.moments(x, (1, 2), keepdims=True)
    centred = x - mean
    other = centred * tf.math.rsqrt(variance + 1e5 * epsilon) * (2 * SCALE) + 1.0
    return centred * tf.math.rsqrt(variance + epsilon) * SCALE + SHIFT + tf.nn.relu(other)


def variance_beside(x: Any, epsilon: float) -> Any:
    mean, variance = tf.nn.moments(x, (1, 2), keepdims=True)
    normed = (x - mean) * tf.math.rsqrt(variance + epsilon) * SCALE + SHIFT
    return tf.nn.relu(normed) + tf.sqrt(variance)


@pytest.mark.parametrize("form", [gate_of_the_mean, two_heads, variance_beside])
def test_filters_keep_their_scale_if_something_else_reads_the_moments(form: Form, rng) -> None:
    filters = 50 * rng.standard_normal((3, 3, CHANNELS, CHANNELS)).astype(np.float32)
    before = lowered(lambda x, epsilon: form(tf.nn.conv2d(x, filters, 1, "SAME"), epsilon))
    after, count = rewritten(before)
    assert count == 1
    photo = rng.random((8, 12, CHANNELS), dtype=np.float32)
    expected = TfliteModel(before, threads=1).run(photo)
    made = TfliteModel(after, threads=1).run(photo)
    np.testing.assert_allclose(made, expected, rtol=1e-4, atol=1e-4)


def test_constants_of_rows_and_columns_fit_the_whole_tensor() -> None:
    rows = np.linspace(0.5, 1.5, 3, dtype=np.float32).reshape(1, 3, 1, 1)
    columns = np.linspace(-1, 1, 2, dtype=np.float32).reshape(2, 1)

    def by_row(x: Any, epsilon: float) -> Any:
        return centred_first(x, epsilon) * rows + columns

    before = lowered(by_row, (3, 2))
    after, count = rewritten(before)
    assert count == 1
    photo = np.linspace(0, 1, 3 * 2 * CHANNELS, dtype=np.float32).reshape(3, 2, CHANNELS)
    expected = TfliteModel(before, threads=1).run(photo)
    np.testing.assert_allclose(TfliteModel(after, threads=1).run(photo), expected, atol=1e-5)


def test_means_that_drop_their_axes_fit_the_whole_tensor() -> None:
    def over_columns(x: Any, epsilon: float) -> Any:
        # A mean of each column, which is added to the channel of that number.
        return centred_first(x, epsilon) + tf.reduce_mean(x, (1, 3))

    before = lowered(over_columns, (8, CHANNELS))
    assert rewritten(before)[1] == 1


@pytest.mark.parametrize("epsilon", [1e-7, 1e-5])
def test_an_epsilon_outside_of_the_root_is_no_instance_norm(epsilon: float) -> None:
    """Nearly flat channels tell the two apart, and come out several times stronger."""
    before = lowered(deviation_plus_epsilon, epsilon=epsilon)
    after, count = rewritten(before)
    assert count == 0
    assert count_operators(after) == count_operators(before)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("epsilon", [1e-12, 1e-9, 1e-5, 1.0])
def test_instance_norms_of_any_epsilon_are_found(form: Form, epsilon: float) -> None:
    (norm,) = find_instance_norms(Graph(lowered(form, epsilon=epsilon)))
    assert norm.epsilons == pytest.approx(np.full(len(norm.scale), epsilon), rel=1e-2)


@pytest.mark.parametrize("dead", [0.0, 1e-15, 1e-9])
def test_a_norm_with_a_dead_channel_is_found(dead: float) -> None:
    scale = np.array([1.5, dead, 0.02, -dead], np.float32)
    (norm,) = find_instance_norms(
        Graph(lowered(lambda x, epsilon: centred_first(x, epsilon) * scale + SHIFT))
    )
    assert norm.scale == pytest.approx(SCALE * scale, rel=1e-5, abs=1e-12)
