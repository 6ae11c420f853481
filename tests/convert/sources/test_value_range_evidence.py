"""What the operators next to a graph's input and output show of its value ranges."""

from collections.abc import Callable
from typing import Any

import pytest
import tensorflow as tf

from bokeh_convert.sources.value_range_evidence import Graph, input_evidence, output_evidence
from bokeh_runtime.tflite.value_range import BYTES, SIGNED, UNIT, ValueRange

FILTERS = tf.constant([[[[0.5, 0.1, 0.2], [0.1, 0.6, 0.1], [0.2, 0.1, 0.5]]]])


def convolved(x: Any) -> Any:
    return tf.nn.conv2d(x, FILTERS, 1, "SAME")


def graph_of(network: Callable[[Any], Any]) -> Graph:
    spec = tf.TensorSpec([1, 8, 12, 3], tf.float32, name="photo")
    concrete = tf.function(network, input_signature=[spec], autograph=False).get_concrete_function()
    return Graph(concrete.graph.as_graph_def(), "photo", concrete.outputs[0].op.name)


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (lambda x: x / 255.0, BYTES),
        (lambda x: x * (1 / 255.0), BYTES),
        (lambda x: x / 127.5 - 1.0, BYTES),
        (lambda x: (x - 127.5) / 127.5, BYTES),
        (lambda x: (x - [123.7, 116.3, 103.5]) / [58.4, 57.1, 57.4], BYTES),
        (lambda x: (x - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225], UNIT),
        (lambda x: x * 2.0 - 1.0, UNIT),
        (lambda x: (x + 1.0) / 2.0, SIGNED),
        (lambda x: tf.cast(tf.cast(x, tf.uint8), tf.float32) / 255.0, BYTES),
        (lambda x: tf.pad(x / 255.0, [[0, 0], [2, 2], [2, 2], [0, 0]]), BYTES),
    ],
)
def test_a_leading_normalization_shows_the_inputs_range(
    first: Callable[[Any], Any], expected: ValueRange
) -> None:
    found = input_evidence(graph_of(lambda x: convolved(first(x))))
    assert found is not None
    assert found.value_range == expected


@pytest.mark.parametrize(
    "first",
    [
        lambda x: x,
        lambda x: -x,
        lambda x: x * 1.02 + 0.01,
        lambda x: x + convolved(x),  # no constant
        lambda x: x * 1e-20 + 1.0,
        lambda x: x * [1 / 255.0, 1 / 255.0, 1.0],
    ],
)
def test_other_first_operators_show_nothing(first: Callable[[Any], Any]) -> None:
    assert input_evidence(graph_of(lambda x: convolved(first(x)))) is None


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (tf.nn.tanh, SIGNED),
        (tf.nn.sigmoid, UNIT),
        (lambda x: tf.nn.tanh(x) * 0.58 + 0.5, UNIT),  # the authors' PyNET
        (lambda x: (tf.nn.tanh(x) + 1.0) / 2.0, UNIT),
        (lambda x: tf.nn.tanh(x) * 127.5 + 127.5, BYTES),
        (lambda x: 255.0 * tf.nn.sigmoid(x), BYTES),
        (lambda x: 1.0 - tf.nn.sigmoid(x), UNIT),
        (lambda x: tf.clip_by_value(x, 0.0, 255.0), BYTES),
        (lambda x: tf.clip_by_value(x, 0.0, 1.0) * 2.0 - 1.0, SIGNED),
        (lambda x: tf.nn.depth_to_space(tf.nn.tanh(tf.repeat(x, 4, -1)), 2), SIGNED),
        (lambda x: tf.nn.relu(tf.nn.tanh(x)), UNIT),
        (lambda x: tf.nn.relu6(x) * (255.0 / 6.0), BYTES),
    ],
)
def test_a_last_activation_shows_the_outputs_range(
    last: Callable[[Any], Any], expected: ValueRange
) -> None:
    found = output_evidence(graph_of(lambda x: last(convolved(x))))
    assert found is not None
    assert found.value_range == expected


@pytest.mark.parametrize(
    "last",
    [
        lambda x: x,
        tf.nn.relu,
        lambda x: tf.maximum(x, 0.0),
        lambda x: tf.nn.tanh(x) * 3.0,
        # Guards against outliers.
        lambda x: tf.clip_by_value(x, 0.0, 6.0),
        lambda x: tf.clip_by_value(x, -1.0, 2.0),
        # A limit that the graph computes.
        lambda x: tf.clip_by_value(x, tf.reduce_min(x), 1.0),
        lambda x: tf.raw_ops.ClipByValue(
            t=x, clip_value_min=tf.reduce_min(x), clip_value_max=tf.constant(1.0)
        ),
    ],
)
def test_an_open_end_shows_nothing(last: Callable[[Any], Any]) -> None:
    assert output_evidence(graph_of(lambda x: last(convolved(x)))) is None


def test_one_branch_shows_the_inputs_range_only_if_it_cannot_be_chance() -> None:
    gated = graph_of(lambda x: convolved(x) * convolved(x * 0.5 + 0.5))
    assert input_evidence(gated) is None
    residual = graph_of(lambda x: x + 255.0 * convolved(x / 255.0))
    found = input_evidence(residual)
    assert found is not None
    assert found.value_range == BYTES


def test_a_cast_shows_the_range_of_what_is_cast() -> None:
    def quantized(x: Any) -> Any:
        return convolved(tf.cast(tf.cast(tf.round(x * 255.0), tf.uint8), tf.float32))

    found = input_evidence(graph_of(quantized))
    assert found is not None
    assert found.value_range == UNIT
