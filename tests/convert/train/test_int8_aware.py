from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from bokeh_convert import convert
from bokeh_convert.graph.editor import Graph
from bokeh_convert.graph.op_inventory import count_operators
from bokeh_convert.graph.schema_views import TensorType
from bokeh_convert.graph.to_tflite import lower
from bokeh_convert.passes import FOR_EVERY_SCHEME, Pass
from bokeh_convert.passes.apply import apply_passes
from bokeh_convert.passes.fake_quantization import remove_fake_quantization
from bokeh_convert.pynet.int8_aware import (
    FakeQuantize,
    RoundedConv2D,
    RoundedConv2DTranspose,
    RoundedDepthwiseConv2D,
)
from bokeh_convert.pynet.layers import InstanceNormalization, SpaceToDepth
from bokeh_convert.quantize.static_int8 import write_static_int8
from bokeh_convert.sources import read_model
from bokeh_convert.train.int8_aware import (
    freeze_coarse_layers,
    int8_aware,
    plain,
    with_feature_error,
    with_rounded_kernels,
)
from bokeh_runtime import TfliteModel
from bokeh_runtime.metrics.psnr import psnr

SIZE = (64, 96)


def small_network() -> keras.Model:
    """Two convolutions of one input, one on the other, a transposed one, and the photo added."""
    keras.utils.set_random_seed(3)
    photo = keras.Input((*SIZE, 3), name="photo")
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", name="down")(photo)
    x = keras.layers.LeakyReLU(negative_slope=0.2)(x)
    a = keras.layers.Conv2D(8, (5, 1), padding="same", use_bias=False, name="column")(x)
    a = keras.layers.Conv2D(8, (1, 5), padding="same", activation="relu", name="row")(a)
    b = keras.layers.Conv2D(8, 3, padding="same", activation="tanh", name="other")(x)
    x = keras.layers.Concatenate()([a, b])
    x = keras.layers.Conv2DTranspose(8, 3, strides=2, padding="same", name="up")(x)
    x = keras.layers.Conv2D(3, 3, padding="same", activation="tanh", name="head")(x)
    x = keras.layers.Rescaling(0.3)(x)
    return keras.Model(photo, keras.layers.Add()([photo, x]))


def photos(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(8)
    small = rng.random((count, SIZE[0] // 8, SIZE[1] // 8, 3)).astype(np.float32)
    return list(keras.ops.convert_to_numpy(keras.ops.image.resize(small, SIZE)))


def outputs(model: keras.Model, training: bool = False) -> list[np.ndarray]:
    return [
        keras.ops.convert_to_numpy(model(photo[np.newaxis], training=training)[0])
        for photo in photos(4)
    ]


def mean_psnr(images: list[np.ndarray], references: list[np.ndarray]) -> float:
    pairs = zip(images, references, strict=True)
    return float(np.mean([psnr(a, b, border_px=0) for a, b in pairs]))


@pytest.fixture(scope="module")
def trained() -> tuple[keras.Model, keras.Model]:
    """The float network, and the one that rounds."""
    model = small_network()
    return model, int8_aware(model, photos(4))


def without_rounding(aware: keras.Model) -> keras.Model:
    """The network with plain convolutions, whose activations are not rounded."""
    exact = plain(aware)
    for layer in exact.layers:
        if isinstance(layer, FakeQuantize):
            layer.enabled = False
    return exact


@pytest.mark.parametrize(
    ("rounded", "exact", "output_axes"),
    [
        (RoundedConv2D, keras.layers.Conv2D, (3,)),
        (RoundedDepthwiseConv2D, keras.layers.DepthwiseConv2D, (2, 3)),
        (RoundedConv2DTranspose, keras.layers.Conv2DTranspose, (2,)),
    ],
)
def test_every_kind_of_convolution_has_int8_weights(
    rounded: Any, exact: Any, output_axes: tuple[int, ...]
) -> None:
    keras.utils.set_random_seed(5)
    filters = {} if exact is keras.layers.DepthwiseConv2D else {"filters": 6}
    options = {"kernel_size": 3, "strides": 2, "padding": "same", "activation": "relu", **filters}
    image = np.random.default_rng(1).random((1, 9, 12, 4)).astype(np.float32)
    own, reference = rounded(**options), exact(**options)
    own(image), reference(image)
    kernel, _ = own.get_weights()
    others = tuple(axis for axis in range(4) if axis not in output_axes)
    scale = np.abs(kernel).max(axis=others, keepdims=True) / 127
    bias = np.linspace(-0.5, 0.5, own.bias.shape[0])
    own.set_weights([kernel, bias])
    reference.set_weights([np.round(kernel / scale) * scale, bias])
    assert np.abs(kernel - reference.get_weights()[0]).max() > scale.min() / 4
    ours, theirs = (keras.ops.convert_to_numpy(layer(image)) for layer in (own, reference))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_a_stored_network_rounds_as_the_trained_one_did(
    trained: tuple[keras.Model, keras.Model],
) -> None:
    _, aware = trained
    stored = plain(aware)
    for own, drawn in zip(outputs(with_rounded_kernels(stored)), outputs(aware), strict=True):
        np.testing.assert_allclose(own, drawn, atol=1e-5)
    assert mean_psnr(outputs(stored), outputs(aware)) < 70


def test_the_error_of_features_is_that_from_the_network_before_training() -> None:
    aware = int8_aware(small_network(), photos(4))
    exact = without_rounding(aware)
    model = with_feature_error(aware)
    assert [v.path for v in model.trainable_variables] == [
        v.path for v in aware.trainable_variables
    ]
    # The network has five convolutions, so the last alone is compared.
    observed = [
        keras.Model(one.input, one.get_layer("head_output_int8").output) for one in (exact, aware)
    ]
    photo = photos(1)[0][np.newaxis]
    for change in (0.0, 0.1):
        kernel = aware.get_layer("head").kernel
        kernel.assign(kernel + change)
        expected, own = (keras.ops.convert_to_numpy(one(photo)) for one in observed)
        *_, error = model(photo)
        wanted = np.abs(own - expected).mean() / np.abs(expected).mean()
        assert wanted > 0.005
        assert float(error[0, 0]) == pytest.approx(float(wanted), rel=1e-3)


def test_features_of_layers_that_are_called_twice_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bokeh_convert.train.int8_aware._FEATURE_DISTANCE", 1)
    aware = int8_aware(small_network(), photos(4))
    assert len(aware.get_layer("column_output_int8")._inbound_nodes) == 2
    photo = photos(1)[0][np.newaxis]
    errors = []
    for name in ("down", "row", "up", "head"):
        expected, own = (
            keras.ops.convert_to_numpy(
                keras.Model(one.input, one.get_layer(f"{name}_output_int8").output)(photo)
            )
            for one in (without_rounding(aware), aware)
        )
        errors.append(np.abs(own - expected).mean() / np.abs(expected).mean())
    *_, error = with_feature_error(aware)(photo)
    assert float(error[0, 0]) == pytest.approx(float(np.mean(errors)), rel=1e-3)


@pytest.mark.parametrize("activation", ["tanh", "leaky_relu", "relu"])
def test_a_layer_that_is_called_twice_has_its_activation_each_time(activation: str) -> None:
    keras.utils.set_random_seed(4)
    photo = keras.Input((*SIZE, 3))
    shared = keras.layers.Conv2D(3, 3, padding="same", activation=activation, name="shared")
    model = keras.Model(photo, shared(shared(photo)))
    model.set_weights([2 * weights for weights in model.get_weights()])  # so that it is not linear
    found = outputs(without_rounding(int8_aware(model, photos(2))))
    for own, expected in zip(found, outputs(model), strict=True):
        np.testing.assert_allclose(own, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("share", "frozen"), [(0.5, set()), (0.6, {"down", "column", "row", "other"})]
)
def test_layers_of_a_small_output_keep_their_weights_and_ranges(
    share: float, frozen: set[str]
) -> None:
    aware = int8_aware(small_network(), photos(4))
    freeze_coarse_layers(aware, (*SIZE, 3), share)
    convolutions = {"down", "column", "row", "other", "up", "head"}
    assert {name for name in convolutions if not aware.get_layer(name).trainable} == frozen
    for name in frozen - {"other"}:  # which shares the range of what reads the same input
        assert not aware.get_layer(f"{name}_output_int8").trainable
    assert aware.get_layer("head_output_int8").trainable
    # A layer that is frozen without rounding is also frozen in what is trained.
    assert len(with_feature_error(aware).trainable_variables) == len(aware.trainable_variables)


def test_a_network_whose_output_is_larger_than_its_input_is_frozen_by_its_output() -> None:
    photo = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", name="own_size")(photo)
    x = keras.layers.Conv2DTranspose(3, 3, strides=2, padding="same", name="twice")(x)
    aware = int8_aware(keras.Model([photo], x), photos(1))
    freeze_coarse_layers(aware, (*SIZE, 3), 0.75)
    assert [aware.get_layer(name).trainable for name in ("own_size", "twice")] == [False, True]


def unequal_network() -> keras.Model:
    """Every kind of layer that passes on or absorbs factors, after channels of unequal ranges."""
    keras.utils.set_random_seed(5)
    photo = keras.Input((*SIZE, 3), name="photo")
    x = SpaceToDepth(name="squares")(photo)
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="first")(x)
    x = keras.layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", name="depthwise")(x)
    x = keras.layers.LeakyReLU(negative_slope=0.2)(x)
    x = keras.layers.Conv2D(8, 3, padding="same", name="normed")(x)
    x = InstanceNormalization(name="norm")(x)
    y = keras.layers.Conv2D(8, 3, padding="same", activation="leaky_relu", name="added")(x)
    x = keras.layers.Add()([x, y])
    x = keras.layers.Concatenate()([x, keras.layers.ReLU()(y)])
    twice = keras.layers.Conv2D(16, 1, name="twice")
    x = twice(keras.layers.MaxPooling2D(2)(twice(x)))
    x = keras.layers.Conv2D(8, 3, padding="same", groups=2, name="grouped")(x)
    for name in ("up", "up_again"):
        x = keras.layers.Conv2DTranspose(8, 3, strides=2, padding="same", name=name)(x)
    x = keras.layers.Conv2D(3, 3, padding="same", activation="tanh", name="head")(x)
    x = keras.layers.Rescaling(0.3)(x)
    model = keras.Model(photo, keras.layers.Add()([photo, x]))
    rng = np.random.default_rng(6)
    # As training leaves them: each channel of a layer has a range of its own.
    for name in ("first", "normed", "added", "up"):
        layer = model.get_layer(name)
        kernel, bias = layer.get_weights()
        by = 10 ** rng.uniform(-1.5, 0.5, len(bias))
        transposed = isinstance(layer, keras.layers.Conv2DTranspose)
        layer.set_weights([kernel * (by[:, np.newaxis] if transposed else by), bias + 0.1 * by])
    return model


def test_equalized_channels_compute_the_same_and_round_less(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = unequal_network()
    exact = outputs(model)
    aware = int8_aware(model, photos(4))
    assert mean_psnr(outputs(without_rounding(aware)), exact) > 100
    changed = [
        layer.name
        for layer in model.layers
        if layer.weights
        and not np.allclose(aware.get_layer(layer.name).get_weights()[0], layer.get_weights()[0])
    ]
    assert min(aware.get_layer("norm").get_weights()[2]) == pytest.approx(1e-3)
    assert set(changed) >= {"first", "depthwise", "normed", "up", "up_again"}
    assert not {"twice", "grouped"} & set(changed), "these cannot absorb factors"
    monkeypatch.setattr(
        "bokeh_convert.train.equalize.smallest_error_logarithms", lambda _, count: np.zeros(count)
    )
    unequalized = int8_aware(model, photos(4))
    gain = mean_psnr(outputs(aware), exact) - mean_psnr(outputs(unequalized), exact)
    assert gain > 3


def test_an_equalized_norm_converts_as_any_other(tmp_path: Path) -> None:
    model = unequal_network()
    exact = outputs(model)
    aware = plain(int8_aware(model, photos(4)))
    aware.save(tmp_path / "aware.h5")
    results = {
        one.report.scheme: one
        for one in convert(tmp_path / "aware.h5", quant=("float32", "int8"), output_dir=tmp_path)
    }
    float32 = TfliteModel(results["float32"].path.read_bytes(), threads=1)
    drawn = [float32.run(photo) for photo in photos(4)]
    # Its ranges end at the largest values of four photos, or just below.
    assert mean_psnr(drawn, exact) > 65
    for layer in aware.layers:
        if isinstance(layer, FakeQuantize):
            layer.rounds = False
    assert mean_psnr(drawn, outputs(aware)) > 90
    for scheme, clips in (("float32", True), ("int8", False)):
        counts = {each["name"]: each["count"] for each in results[scheme].report.passes}
        assert counts["instance-norm"] == 1
        operators = count_operators(results[scheme].path.read_bytes())
        assert ("MAXIMUM" in operators) == ("MINIMUM" in operators) == clips
    model.save(tmp_path / "plain.h5")
    (reference,) = convert(tmp_path / "plain.h5", quant=("float32",), output_dir=tmp_path / "plain")
    graph = Graph(lower(read_model(tmp_path / "aware.h5").at(*SIZE)))
    remove_fake_quantization(graph, clip=False)
    rewritten = apply_passes(graph.to_bytes(), FOR_EVERY_SCHEME).content
    assert count_operators(rewritten) == count_operators(reference.path.read_bytes())


def test_the_range_of_the_input_is_known_and_not_trained(
    trained: tuple[keras.Model, keras.Model],
) -> None:
    _, aware = trained
    first = aware.get_layer("down_input_int8")
    assert (float(first.initial_low), float(first.initial_high)) == (0, 1)
    assert not first.trainable_variables
    assert not plain(aware).get_layer("down_input_int8").trainable_variables


def test_training_rounds_as_inference_does(trained: tuple[keras.Model, keras.Model]) -> None:
    model, aware = trained
    exact = outputs(model)
    for training in (False, True):
        assert 35 < mean_psnr(outputs(aware, training), exact) < 70
    assert mean_psnr(outputs(aware, True), outputs(aware)) > 55


def test_weights_and_ranges_have_gradients(trained: tuple[keras.Model, keras.Model]) -> None:
    import tensorflow as tf

    _, aware = trained
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(aware(np.stack(photos(2)), training=True)))
    found = tape.gradient(loss, [v.value for v in aware.trainable_variables])
    moved = {
        v.path: float(tf.reduce_max(tf.abs(g)))
        for v, g in zip(aware.trainable_variables, found, strict=True)
        if g is not None
    }
    assert len(moved) == len(aware.trainable_variables)
    assert min(value for path, value in moved.items() if path.endswith("kernel")) > 0
    ranges = [value for path, value in moved.items() if "_change" in path]
    assert np.mean(np.array(ranges) > 0) > 0.7  # those of ReLU have no low end


@pytest.mark.parametrize("passes", [(), FOR_EVERY_SCHEME])
def test_the_file_draws_what_the_training_drew(passes: Sequence[Pass], tmp_path: Path) -> None:
    model = unequal_network()
    normed = model.get_layer("normed")  # filters that the rewrite of the norm scales
    normed.set_weights([100 * weights for weights in normed.get_weights()])
    aware = int8_aware(model, photos(4))
    exact = outputs(model)
    emulated = mean_psnr(outputs(aware), exact)
    plain(aware).save(tmp_path / "aware.h5")
    graph = Graph(lower(read_model(tmp_path / "aware.h5").at(*SIZE)))
    ranges = remove_fake_quantization(graph, clip=False)
    rewritten = apply_passes(graph.to_bytes(), passes, trained_ranges=ranges)
    assert (rewritten.trained_ranges == ranges) == (not passes)
    float32 = TfliteModel(rewritten.content, threads=1)
    assert mean_psnr([float32.run(photo) for photo in photos(4)], exact) > 100
    graph = Graph(rewritten.content)
    in_int8 = write_static_int8(graph, rewritten.trained_ranges)
    assert len(in_int8) == 10, "every convolution has a trained range"
    file = TfliteModel(graph.to_bytes(), threads=1)
    measured = mean_psnr([file.run(photo) for photo in photos(4)], exact)
    assert measured == pytest.approx(emulated, abs=0.5)


def test_trained_ranges_are_used_and_the_rounding_is_not_counted_twice(
    trained: tuple[keras.Model, keras.Model], tmp_path: Path
) -> None:
    model, aware = trained
    network = plain(aware)
    (first,) = (layer for layer in network.layers if layer.name == "down_input_int8")
    assert isinstance(first, FakeQuantize)
    first.set_range(0.0, 1.5)  # which no calibration would choose for a photo
    network.save(tmp_path / "aware.h5")
    results = {
        one.report.scheme: one
        for one in convert(tmp_path / "aware.h5", quant=("float16", "int8"), output_dir=tmp_path)
    }
    assert results["float16"].report.fidelity["psnr_db_mean"] > 60
    graph = Graph(results["int8"].path.read_bytes())
    scales = [t.quantization.scale[0] for t in graph.tensors
              if t.type == TensorType.INT8 and list(t.shape) == [1, *SIZE, 3]]  # fmt: skip
    assert pytest.approx(1.5 / 255) in scales
    float16 = count_operators(results["float16"].path.read_bytes())
    assert float16.get("QUANTIZE", 0) == 0
    exact = outputs(model)
    model_file = TfliteModel(results["float16"].path.read_bytes(), threads=1)
    assert mean_psnr([model_file.run(image) for image in photos(4)], exact) > 60
