from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bokeh_convert.graph.op_inventory import count_operators
from bokeh_convert.graph.to_tflite import lower
from bokeh_convert.quantize.engine import quantize
from bokeh_convert.quantize.fp16_arithmetic import allow_fp16_arithmetic, emulate_fp16_arithmetic
from bokeh_convert.quantize.schemes import SCHEMES
from bokeh_convert.sources import read_model
from bokeh_runtime import TfliteModel
from bokeh_runtime.metrics.psnr import psnr
from helpers.models import small_model

SIZE = 12
Layer = Callable[[Any], Any]


@pytest.fixture(scope="module")
def float32(small_keras: Path) -> bytes:
    return lower(read_model(small_keras).at(32, 64))


@pytest.fixture
def photo() -> np.ndarray:
    return np.random.default_rng(0).random((32, 64, 3), np.float32)


def file_of(layer: Layer, folder: Path) -> bytes:
    """Returns the float16 file of a network that is only a layer."""
    import keras

    inputs = keras.Input((SIZE, SIZE, 3))
    path = folder / "layer.keras"
    keras.Model(inputs, layer(inputs)).save(path)
    return quantize(lower(read_model(path).at(SIZE, SIZE)), SCHEMES["float16"])


def summed_in_float16(products: np.ndarray) -> np.ndarray:
    """Adds up along the last axis as a kernel does that rounds after each product."""
    total = np.zeros(products.shape[:-1], np.float16)
    for index in range(products.shape[-1]):
        total = (total.astype(np.float32) + products[..., index]).astype(np.float16)
    return total.astype(np.float32)


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def convolution() -> Layer:
    import keras

    return keras.layers.Conv2D(3, 7, use_bias=False)


def sparse_convolution() -> Layer:
    """A convolution of which most weights are 0, as after the grouping of pixels."""
    import keras

    layer = keras.layers.Conv2D(3, 7, use_bias=False)
    layer.build((None, SIZE, SIZE, 3))
    (weights,) = layer.get_weights()
    weights[:, :, 1:] = 0
    layer.set_weights([weights])
    return layer


def depthwise_convolution() -> Layer:
    import keras

    return keras.layers.DepthwiseConv2D(7, use_bias=False)


def transposed_convolution() -> Layer:
    import keras

    return keras.layers.Conv2DTranspose(3, 8, 2, "same", use_bias=False)


def fully_connected() -> Layer:
    import keras

    def layer(x: Any) -> Any:
        sums = keras.layers.Dense(SIZE * SIZE * 3, use_bias=False)(keras.layers.Flatten()(x))
        return keras.layers.Reshape((SIZE, SIZE, 3))(sums)

    return layer


@pytest.mark.parametrize(
    "layer",
    [
        convolution, sparse_convolution, depthwise_convolution, transposed_convolution,
        fully_connected,
    ],
)  # fmt: skip
def test_errors_are_as_large_as_those_of_sums_in_float16(
    layer: Callable[[], Layer], tmp_path: Path
) -> None:
    import keras

    keras.utils.set_random_seed(0)
    content = file_of(layer(), tmp_path)
    model = TfliteModel(content)
    # The layers are linear: the output for an input of which one value is 1 is a matrix column.
    units = np.eye(SIZE * SIZE * 3, dtype=np.float32).reshape(-1, SIZE, SIZE, 3)
    columns = np.stack([model.run(unit).ravel() for unit in units])
    source = np.random.default_rng(0).normal(size=units[0].shape).astype(np.float16)
    products = source.reshape(-1, 1).astype(np.float32) * columns
    exact = products.sum(0)
    expected = rms(summed_in_float16(products.T) - exact)
    emulated = TfliteModel(emulate_fp16_arithmetic(content))
    measured = rms(emulated.run(source.astype(np.float32)).ravel() - exact)
    assert 0.75 < measured / expected < 1.33


def test_errors_of_a_product_of_activations(tmp_path: Path) -> None:
    import keras

    def product(x: Any) -> Any:
        flat = keras.layers.Reshape((SIZE, SIZE * 3))(x)
        image = keras.layers.Reshape((SIZE, SIZE, 1))(keras.layers.Dot(axes=2)([flat, flat]))
        return keras.layers.Concatenate()([image] * 3)

    content = file_of(product, tmp_path)
    assert count_operators(content)["BATCH_MATMUL"] == 1
    source = np.random.default_rng(0).normal(size=(SIZE, SIZE, 3)).astype(np.float16)
    rows = source.reshape(SIZE, -1).astype(np.float32)
    products = rows[:, None] * rows[None]
    exact = products.sum(-1)
    expected = rms(summed_in_float16(products) - exact)
    emulated = TfliteModel(emulate_fp16_arithmetic(content)).run(source.astype(np.float32))
    assert 0.7 < rms(emulated[..., 0] - exact) / expected < 1.6


def test_every_activation_is_rounded(float32: bytes, photo: np.ndarray) -> None:
    exact = TfliteModel(float32).run(photo)
    rounded = TfliteModel(emulate_fp16_arithmetic(float32)).run(photo)
    np.testing.assert_array_equal(rounded, rounded.astype(np.float16))
    assert 50 < psnr(exact, rounded, border_px=0) < 90


@pytest.mark.slow
def test_it_overflows_like_float16(tmp_path: Path, photo: np.ndarray) -> None:
    model = small_model()
    kernel, bias = model.get_layer("first").get_weights()
    model.get_layer("first").set_weights([kernel * 1e6, bias])  # instance norm removes the factor
    model.save(tmp_path / "loud.keras")
    loud = lower(read_model(tmp_path / "loud.keras").at(32, 64))
    assert np.isfinite(TfliteModel(loud).run(photo)).all()
    assert not np.isfinite(TfliteModel(emulate_fp16_arithmetic(loud)).run(photo)).all()


def test_the_metadata_entry_allows_float16_arithmetic(float32: bytes) -> None:
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(allow_fp16_arithmetic(allow_fp16_arithmetic(float32)))
    entries = {
        model.Metadata(i).Name(): model.Buffers(model.Metadata(i).Buffer()).DataAsNumpy().tobytes()
        for i in range(model.MetadataLength())
    }
    assert entries[b"reduced_precision_support"] == b"fp16accfp16"
    assert model.MetadataLength() == len(entries)
