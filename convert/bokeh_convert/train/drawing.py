"""Opens a model for scoring, on whichever backend Keras runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

import bokeh_convert.pynet.layers  # noqa: F401  (registers our layers with Keras)
from bokeh_convert.train.trainer import averaged
from bokeh_runtime.imaging.photo import FloatImage


def drawing(model: Path) -> tuple[Callable[[FloatImage], FloatImage], bool]:
    """Returns a function from network input to picture, and whether the model takes depth.

    Args:
        model: An .h5 or .keras file of Keras 3, or the folder of a training run.

    Raises:
        ValueError: If there is no model.
    """
    if not model.exists():
        raise ValueError(f"{model}: no such file or folder; check the path")
    network = averaged(model) if model.is_dir() else keras.saving.load_model(model, compile=False)

    def draw(image: FloatImage) -> FloatImage:
        output = keras.ops.convert_to_numpy(network(image[np.newaxis], training=False))
        return np.asarray(output[0], np.float32)

    return draw, network.inputs[0].shape[-1] == 4
