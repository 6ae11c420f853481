from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bokeh_convert.graph.delegate_compatibility import gpu_objections, operator_compatibility
from bokeh_convert.graph.to_tflite import lower
from bokeh_convert.sources import read_model
from helpers.quantization import quantized


@pytest.fixture(scope="module")
def float32(small_keras: Path) -> bytes:
    return lower(read_model(small_keras).at(32, 64))


def _quantized(float32: bytes, scheme: str) -> bytes:
    photo = np.random.default_rng(3).random((32, 64, 3), dtype=np.float32)
    return quantized(float32, scheme, [photo])


def _levels(content: bytes) -> dict[tuple[str, str], int | None]:
    return {(row.operator, row.type): row.nnapi_level for row in operator_compatibility(content)}


def test_every_operator_is_in_a_row(float32: bytes) -> None:
    from bokeh_convert.graph.op_inventory import count_operators

    counts: dict[str, int] = {}
    for row in operator_compatibility(float32):
        counts[row.operator] = counts.get(row.operator, 0) + row.count
    assert counts == count_operators(float32)


def test_nnapi_levels_of_a_float_file(float32: bytes) -> None:
    levels = _levels(float32)
    assert levels["CONV_2D", "float32"] == 27
    assert levels["TRANSPOSE_CONV", "float32"] == 29
    assert levels["LEAKY_RELU", "float32"] == 29
    assert levels["MEAN", "float32"] == 28
    assert levels["SQUARED_DIFFERENCE", "float32"] is None


def test_nnapi_levels_of_quantized_files(float32: bytes) -> None:
    integer = _levels(_quantized(float32, "full-integer"))
    assert integer["CONV_2D", "int8"] == 29
    assert integer["QUANTIZE", "uint8 -> int8"] == 30
    dynamic = _levels(_quantized(float32, "dynamic"))
    assert dynamic["CONV_2D", "float32"] == 29
    float16 = _levels(_quantized(float32, "float16"))
    assert float16["DEQUANTIZE", "float16 -> float32"] is None


def test_int16_runs_on_no_delegate(float32: bytes) -> None:
    rows = operator_compatibility(_quantized(float32, "int16x8"))
    (convolution,) = [row for row in rows if row.operator == "CONV_2D"]
    assert convolution.nnapi_level is None
    assert convolution.gpu == "works on int16, the GPU delegate on float and 8 bits"


def test_operators_that_no_gpu_takes_are_named(float32: bytes) -> None:
    import tensorflow as tf

    assert gpu_objections(operator_compatibility(float32)) == []

    @tf.function(input_signature=[tf.TensorSpec([1, 8, 8, 4])])
    def awkward(x):
        largest = tf.math.top_k(x, 1).values
        turned = tf.transpose(tf.reshape(x, [1, 4, 2, 4, 2, 4]), [0, 1, 3, 2, 4, 5])
        return tf.reduce_sum(largest) + tf.reduce_sum(turned)

    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [awkward.get_concrete_function()], tf.Module()
    )
    objections = gpu_objections(operator_compatibility(converter.convert()))
    assert "TOPK_V2: not an operator of the GPU delegate (1 times)" in objections
    assert "TRANSPOSE: works on 6 dimensions, the GPU delegate on 4 (1 times)" in objections
