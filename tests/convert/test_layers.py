from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from bokeh_convert.pynet.layers import InstanceNormalization, SpaceToDepth
from helpers.models import small_model


def test_instance_normalization_matches_values_worked_out_by_hand() -> None:
    # One channel, values 1 2 3 4: mean 2.5, biased variance 1.25.
    layer = InstanceNormalization(epsilon=0.75)
    image = np.array([1, 2, 3, 4], np.float32).reshape(1, 2, 2, 1)
    layer.build(image.shape)
    layer.shift.assign([10.0])
    layer.scale.assign([2.0])
    root = np.sqrt(1.25 + 0.75)
    expected = 10 + 2 * np.array([-1.5, -0.5, 0.5, 1.5]) / root
    np.testing.assert_allclose(np.ravel(layer(image)), expected, rtol=1e-6)


def test_instance_normalization_treats_images_and_channels_apart(rng: np.random.Generator) -> None:
    images = rng.normal(size=(2, 8, 8, 3)).astype(np.float32) * [1, 10, 100]
    actual = np.asarray(InstanceNormalization(epsilon=1e-6)(images.astype(np.float32)))
    np.testing.assert_allclose(actual.mean(axis=(1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(actual.std(axis=(1, 2)), 1, atol=1e-4)


def test_space_to_depth_keeps_tensorflows_order_on_every_backend(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = rng.random((2, 4, 6, 3), dtype=np.float32)
    expected = tf.nn.space_to_depth(image, 2)
    np.testing.assert_array_equal(SpaceToDepth()(image), expected)
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")  # uses the general form
    np.testing.assert_array_equal(SpaceToDepth()(image), expected)


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_layers_survive_saving(suffix: str, tmp_path: Path, rng: np.random.Generator) -> None:
    model = small_model()
    model.save(tmp_path / f"model{suffix}")
    again = keras.saving.load_model(tmp_path / f"model{suffix}")
    image = rng.random((1, 32, 32, 3), dtype=np.float32)
    np.testing.assert_array_equal(again(image), model(image))
    assert again.get_layer("norm").epsilon == model.get_layer("norm").epsilon
