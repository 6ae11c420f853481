from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from bokeh_convert import convert
from bokeh_convert.graph.editor import Graph
from bokeh_convert.graph.op_inventory import count_operators
from bokeh_convert.graph.schema_views import Op
from bokeh_convert.passes.space_to_depth import write_space_to_depth_as_convolution
from bokeh_runtime import InputError


def lowered(block: int, channels: int) -> bytes:
    @tf.function(input_signature=[tf.TensorSpec([1, 12, 24, channels])])
    def fold(x):
        return tf.nn.space_to_depth(x, block)

    return tf.lite.TFLiteConverter.from_concrete_functions(
        [fold.get_concrete_function()], tf.Module()
    ).convert()


def rewritten(content: bytes) -> tuple[bytes, int]:
    graph = Graph(content)
    count = write_space_to_depth_as_convolution(graph)
    return graph.to_bytes(), count


def run(content: bytes, values: np.ndarray) -> np.ndarray:
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], values)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


@pytest.mark.parametrize(("block", "channels"), [(2, 3), (2, 4), (3, 1), (4, 3)])
def test_the_output_is_the_same_bit_for_bit(block: int, channels: int, rng) -> None:
    before = lowered(block, channels)
    after, count = rewritten(before)
    assert count == 1
    assert count_operators(before) == {"SPACE_TO_DEPTH": 1}
    assert count_operators(after) == {"CONV_2D": 1}
    # From the smallest normal floats up to large ones, of both signs.
    exponents = rng.uniform(-120, 120, (1, 12, 24, channels))
    values = (rng.choice([-1.0, 1.0], exponents.shape) * np.exp2(exponents)).astype(np.float32)
    assert run(after, values).tobytes() == run(before, values).tobytes()


def test_only_floats_are_rewritten() -> None:
    graph = Graph(lowered(2, 3))
    graph.tensors[graph.inputs[0]].type = 9  # int8
    assert write_space_to_depth_as_convolution(graph) == 0


@pytest.fixture(scope="module")
def both(small_keras: Path, tmp_path_factory: pytest.TempPathFactory):
    """The small network by scheme, without and with the rewrite."""
    schemes = ("float32", "full-integer", "int16x8")
    return [
        {
            one.report.scheme: one
            for one in convert(
                small_keras,
                quant=schemes,
                size=(32, 64),
                output_dir=tmp_path_factory.mktemp("folded"),
                extra_passes=extra,
            )
        }
        for extra in ((), ("space-to-depth",))
    ]


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["float32", "full-integer", "int16x8"])
def test_it_is_off_unless_asked_for_and_reported(scheme: str, both) -> None:
    without, with_it = (conversions[scheme].report for conversions in both)
    assert without.operators["SPACE_TO_DEPTH"] == 1
    assert "SPACE_TO_DEPTH" not in with_it.operators
    assert with_it.operators["CONV_2D"] == without.operators["CONV_2D"] + 1
    made = {
        "name": "space-to-depth",
        "changes": "SPACE_TO_DEPTH written as convolutions",
        "count": 1,
    }
    assert made not in without.passes
    first, *others = with_it.passes
    assert first == made
    assert [one["name"] for one in others] == [one["name"] for one in without.passes]


@pytest.mark.slow
def test_in_full_integer_each_filter_copies_a_value(both, rng) -> None:
    graph = Graph(both[1]["full-integer"].path.read_bytes())
    fold = next(op for op in graph.operators if graph.opcode(op) == Op.CONV_2D)
    filters = graph.constant(fold.inputs[1])
    assert filters.shape == (12, 2, 2, 3)
    np.testing.assert_array_equal(filters.reshape(12, 12), np.eye(12) * 127)
    source, target = (graph.tensors[i].quantization for i in (fold.inputs[0], fold.outputs[0]))
    assert list(source.scale) == list(target.scale)
    assert list(source.zeroPoint) == list(target.zeroPoint)
    assert not graph.constant(fold.inputs[2]).any()
    photo = rng.integers(0, 256, (1, 32, 64, 3), dtype=np.uint8)
    outputs = [run(one["full-integer"].path.read_bytes(), photo) for one in both]
    np.testing.assert_array_equal(*outputs)


@pytest.mark.slow
def test_in_float_the_network_draws_the_same(both, rng) -> None:
    photo = rng.random((1, 32, 64, 3), dtype=np.float32)
    outputs = [run(one["float32"].path.read_bytes(), photo) for one in both]
    np.testing.assert_allclose(*outputs, atol=1e-6)


def test_a_rewrite_that_is_not_optional_cannot_be_asked_for(small_keras: Path) -> None:
    with pytest.raises(InputError, match="extra_passes='instance-norm' is unknown"):
        convert(small_keras, extra_passes=["instance-norm"])
    with pytest.raises(InputError, match="ask for it and skip it"):
        convert(small_keras, extra_passes=["space-to-depth"], skip_passes=["space-to-depth"])
