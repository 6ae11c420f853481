from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from bokeh_convert.graph.editor import Graph
from bokeh_convert.graph.schema_views import Op
from bokeh_convert.graph.to_tflite import lower
from bokeh_convert.passes.equalize_channels import equalize_channels
from bokeh_convert.passes.instance_norm import rewrite_instance_norm
from bokeh_convert.passes.norm_scaling import Powers, find_scalable_norms
from bokeh_convert.pynet.layers import InstanceNormalization
from bokeh_convert.quantize.activation_calibration import measure_activations
from bokeh_convert.quantize.equalized import convolution_activations
from bokeh_convert.sources import read_model
from bokeh_runtime import TfliteModel
from bokeh_runtime.metrics.psnr import psnr
from helpers.models import small_model

Layer = Callable[[Any], Any]


def uneven(filters: int, **options: Any) -> Layer:
    """A convolution; `lowered` gives its channels very different ranges."""
    return keras.layers.Conv2D(filters, 3, padding="same", **options)


def up(x: Any) -> Any:
    return keras.layers.Conv2DTranspose(8, 3, strides=2, padding="same")(x)


def residual(x: Any) -> Any:
    return keras.layers.add([x, keras.layers.LeakyReLU(negative_slope=0.2)(uneven(8)(x))])


def joined_before_the_last_axis(*tensors: Any) -> Any:
    apart = [keras.layers.Reshape((32, 48, 1, 4))(x) for x in tensors]
    return keras.layers.Reshape((32, 48, 8))(keras.layers.Concatenate(axis=3)(apart))


NETWORKS: dict[str, Callable[[Any], Any]] = {
    "leaky": lambda x: keras.layers.LeakyReLU(negative_slope=0.2)(uneven(8)(x)),
    "relu": lambda x: keras.layers.MaxPooling2D(2)(uneven(8, activation="relu")(x)),
    "relu6": lambda x: keras.layers.ReLU(6.0)(uneven(8)(x)),
    "no bias": lambda x: keras.layers.ReLU()(uneven(8, use_bias=False)(x)),
    "concatenation": lambda x: keras.layers.concatenate([uneven(8)(x), uneven(4)(x)]),
    "five axes": lambda x: joined_before_the_last_axis(uneven(4)(x), uneven(4)(x)),
    "residual": lambda x: residual(uneven(8)(x)),
    "transposed": lambda x: up(uneven(8)(x)),
    "grouped": lambda x: uneven(8, groups=2)(uneven(8)(x)),
    "average": lambda x: keras.layers.AveragePooling2D(2)(uneven(8)(x)),
    "instance norm": lambda x: InstanceNormalization()(uneven(8)(x)),
    "tanh": lambda x: keras.ops.tanh(uneven(8)(x)),
    "integers": lambda x: keras.ops.cast(
        keras.ops.cast(keras.ops.round(uneven(8)(x) * 10), "int32") + 3, "float32"
    ),
    "channel mean": lambda x: uneven(8)(x) - keras.ops.mean(uneven(8)(x), -1, keepdims=True),
}


def lowered(body: Callable[[Any], Any], folder: Path, rewrite: bool = False) -> bytes:
    photo = keras.Input((32, 48, 3))
    x = uneven(3)(body(uneven(8)(photo)))
    model = keras.Model(photo, x)
    rng = np.random.default_rng(5)
    for layer in model.layers:
        if type(layer) is keras.layers.Conv2D:
            kernel, *bias = layer.get_weights()
            factors = 10 ** rng.uniform(-2, 0.5, kernel.shape[-1])
            layer.set_weights([rng.normal(0, 0.3, kernel.shape) * factors, *bias])
        elif layer.get_weights():
            layer.set_weights([rng.uniform(0.5, 2, w.shape) for w in layer.get_weights()])
    model.save(folder / "network.keras")
    content = lower(read_model(folder / "network.keras").at(32, 48))
    graph = Graph(content)
    if rewrite:
        rewrite_instance_norm(graph)
    return graph.to_bytes()


def unevenness(content: bytes, photos: list[np.ndarray]) -> float:
    """How much smaller the ranges of channels are than that of the tensor, in factors of e."""
    names = convolution_activations(Graph(content))
    found = measure_activations(content, photos, names=names, threads=1)
    ends = (found.input, found.output)
    return float(
        np.mean(
            [
                np.mean(np.log(one.largest.max() / np.maximum(one.largest, 1e-6)))
                for name, one in found.tensors.items()
                if name not in ends
            ]
        )
    )


@pytest.fixture
def photos(rng: np.random.Generator) -> list[np.ndarray]:
    return [rng.random((32, 48, 3), np.float32) for _ in range(2)]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("rewrite", [False, True])
def test_the_output_is_the_same_and_the_ranges_are_more_even(
    name: str, rewrite: bool, photos: list[np.ndarray], tmp_path: Path
) -> None:
    before = lowered(NETWORKS[name], tmp_path, rewrite)
    graph = Graph(before)
    names = convolution_activations(graph)
    found = measure_activations(before, photos, names=names, threads=1)
    factors = equalize_channels(graph, found.tensors)
    after = graph.to_bytes()
    for photo in photos:
        expected = TfliteModel(before, threads=1).run(photo)
        output = TfliteModel(after, threads=1).run(photo)
        scale = max(1.0, float(np.abs(expected).max()))
        assert psnr(output / scale, expected / scale, border_px=0) > 100
    assert found.input not in factors
    assert found.output not in factors
    if name == "relu6":  # it is not homogeneous
        assert not factors
    else:
        assert unevenness(after, photos) < unevenness(before, photos)


def test_the_factors_are_those_of_the_activations(photos: list[np.ndarray], tmp_path: Path) -> None:
    before = lowered(NETWORKS["instance norm"], tmp_path)
    found = measure_activations(before, photos, threads=1)
    graph = Graph(before)
    factors = equalize_channels(graph, found.tensors)
    again = measure_activations(graph.to_bytes(), photos, threads=1)
    assert factors
    for name, one in found.scaled(factors).tensors.items():
        if name in again.tensors:
            np.testing.assert_allclose(
                again.tensors[name].maxima, one.maxima, rtol=1e-3, atol=1e-4, err_msg=name
            )


@pytest.mark.parametrize("rewrite", [False, True])
def test_instance_norms_are_found_with_their_powers(rewrite: bool, tmp_path: Path) -> None:
    graph = Graph(lowered(NETWORKS["instance norm"], tmp_path, rewrite))
    (norm,) = find_scalable_norms(graph)
    assert norm.scales_target
    assert norm.powers[norm.source] == Powers(1, 0)
    assert norm.powers[norm.target] == Powers(0, 1)
    epsilon = [u for u in norm.constants if u.powers == Powers(2, 0)]
    assert len(epsilon) == 1
    assert graph.opcode(epsilon[0].operator) == Op.ADD


def test_a_norm_over_channels_is_left_alone(tmp_path: Path) -> None:
    graph = Graph(lowered(keras.layers.LayerNormalization(axis=-1), tmp_path))
    assert find_scalable_norms(graph) == []


def test_the_small_network_of_the_other_tests(tmp_path: Path) -> None:
    small_model().save(tmp_path / "small.keras")
    graph = Graph(lower(read_model(tmp_path / "small.keras").at(32, 64)))
    assert len(find_scalable_norms(graph)) == 1
