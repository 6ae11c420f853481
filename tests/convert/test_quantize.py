from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bokeh_convert.lower import lower
from bokeh_convert.operators import count_operators, gpu_objections
from bokeh_convert.quantize import SCHEMES, quantize
from bokeh_convert.read import read_model


@pytest.fixture(scope="module")
def float32(small_keras: Path) -> bytes:
    return lower(read_model(small_keras).at(32, 64))


def photos(count: int = 9, seen: list[int] | None = None):
    rng = np.random.default_rng(3)
    for i in range(count):
        if seen is not None:
            seen.append(i)
        yield rng.random((32, 64, 3), dtype=np.float32)


def test_only_a_calibrated_scheme_reads_photos(float32: bytes) -> None:
    for name, scheme in SCHEMES.items():
        seen: list[int] = []
        quantize(float32, scheme, lambda seen=seen: photos(seen=seen), threads=1)
        assert bool(seen) == (name == "int8")


def test_photos_are_streamed(float32: bytes) -> None:
    alive, most = 0, 0

    class Photo(np.ndarray):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def stream():
        nonlocal alive, most
        for photo in photos(20):
            alive += 1
            most = max(most, alive)
            yield photo.view(Photo)

    quantize(float32, SCHEMES["int8"], stream, threads=1)
    assert most < 20


def test_operators_of_a_file_are_counted(float32: bytes) -> None:
    counts = count_operators(float32)
    assert counts["CONV_2D"] == 2
    assert counts["TRANSPOSE_CONV"] == 1
    assert counts["SPACE_TO_DEPTH"] == 1
    assert count_operators(quantize(float32, SCHEMES["int8"], photos, threads=1))["QUANTIZE"] >= 2


def test_operators_that_no_gpu_takes_are_named(float32: bytes) -> None:
    import tensorflow as tf

    assert gpu_objections(float32) == []

    @tf.function(input_signature=[tf.TensorSpec([1, 8, 8, 4])])
    def awkward(x):
        largest = tf.math.top_k(x, 1).values
        turned = tf.transpose(tf.reshape(x, [1, 4, 2, 4, 2, 4]), [0, 1, 3, 2, 4, 5])
        return tf.reduce_sum(largest) + tf.reduce_sum(turned)

    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [awkward.get_concrete_function()], tf.Module()
    )
    objections = gpu_objections(converter.convert())
    assert "TOPK_V2: not an operator of the GPU delegate (1 times)" in objections
    assert "TRANSPOSE: works on 6 dimensions, the GPU delegate on 4 (1 times)" in objections
