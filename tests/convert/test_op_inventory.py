"""What is listed about the operators of a file."""

from __future__ import annotations

import pytest
import tensorflow as tf

from bokeh_convert import Conversion
from bokeh_convert.graph.editor import Graph
from bokeh_convert.graph.op_inventory import SCALAR_INPUTS, read_operators
from bokeh_convert.graph.schema_views import Op


@tf.function(input_signature=[tf.TensorSpec([1, 8, 8, 4])])
def with_scalars(x):
    left, right = tf.split(x, 2, axis=3)
    first, rest = tf.split(x, [1, 3], axis=-1)
    filled = tf.fill(tf.shape(x), tf.reduce_max(x))
    return (
        tf.cumsum(left, axis=1) * right
        + first * tf.reduce_sum(rest)
        + tf.one_hot(tf.cast(x[..., 0], tf.int32), 2)
        + filled[..., :2]
        + tf.cast(tf.range(tf.shape(x)[1])[0], tf.float32)
    )


@pytest.fixture(scope="module")
def by_tensorflow() -> bytes:
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [with_scalars.get_concrete_function()], tf.Module()
    )
    return converter.convert()


def test_tensorflow_itself_writes_scalars(by_tensorflow: bytes) -> None:
    operators = [one for one in read_operators(by_tensorflow) if one.name in SCALAR_INPUTS]
    assert {one.name for one in operators} >= {"SPLIT", "CUMSUM", "ONE_HOT"}
    assert not any(one.list_for_scalar for one in operators)


@pytest.mark.parametrize("name", ["SPLIT", "CUMSUM", "ONE_HOT"])
def test_a_list_for_a_scalar_is_seen(name: str, by_tensorflow: bytes) -> None:
    graph = Graph(by_tensorflow)
    operator = next(one for one in graph.operators if graph.opcode(one) == getattr(Op, name))
    graph.tensors[operator.inputs[SCALAR_INPUTS[name][0]]].shape = [1]
    assert name in {one.name for one in read_operators(graph.to_bytes()) if one.list_for_scalar}


@pytest.mark.slow
def test_the_demo_files_have_no_list_for_a_scalar(demo_conversions: dict[str, Conversion]) -> None:
    for conversion in demo_conversions.values():
        operators = read_operators(conversion.path.read_bytes())
        assert not any(operator.list_for_scalar for operator in operators)
