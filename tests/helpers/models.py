"""Small Keras 3 models of PyNET's building blocks."""

from __future__ import annotations

import warnings
from pathlib import Path

import keras
import numpy as np
import tf_keras

from bokeh_convert.pynet.layers import InstanceNormalization, SpaceToDepth


def small_model(channels: int = 3, size: tuple[int | None, int | None] = (None, None)):
    """A network of PyNET's building blocks that converts in a second or two.

    Its output is a pale copy of the photo with noise, as a converter refuses what is no picture.
    """
    keras.utils.set_random_seed(5)
    photo = keras.Input((*size, channels), name="photo")
    x = SpaceToDepth(name="s2d")(photo)
    x = keras.layers.Conv2D(8, 3, padding="same", name="first")(x)
    x = InstanceNormalization(name="norm")(x)
    x = keras.layers.LeakyReLU(negative_slope=0.2, name="leaky")(x)
    x = keras.layers.Conv2DTranspose(8, 3, strides=2, padding="same", name="up")(x)
    x = keras.layers.Conv2D(3, 3, padding="same", name="last")(x)
    x = keras.layers.Rescaling(0.1, offset=0.5, name="out")(x)
    model = keras.Model(photo, x)
    first, up, last = (model.get_layer(name).get_weights() for name in ("first", "up", "last"))
    for color in range(3):
        first[0][1, 1, color::channels, color] += 0.25
        up[0][:, :, color, color] += np.outer([0.5, 1, 0.5], [0.5, 1, 0.5])
        last[0][1, 1, color, color] += 1
    for name, weights in (("first", first), ("up", up), ("last", last)):
        model.get_layer(name).set_weights(weights)
    return model


def constant_model():
    """Draws mid-grey whatever it sees."""
    photo = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(3, 1, kernel_initializer="zeros", name="nothing")(photo)
    return keras.Model(photo, keras.layers.Rescaling(1.0, offset=0.5)(x))


def save_keras_2(model: tf_keras.Model, path: Path) -> None:
    """Saves an .h5 file, of which tf-keras warns that it is an old format."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model.save(path)
