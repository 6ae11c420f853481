"""Opens a model for scoring, on whichever backend Keras runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from bokeh_convert.sources.keras3 import open_keras3
from bokeh_convert.train.trainer import averaged
from bokeh_runtime.imaging.photo import FloatImage


def drawing(model: Path) -> tuple[Callable[[FloatImage], FloatImage], bool]:
    """Returns a function from network input to picture, and whether the model takes depth.

    Args:
        model: An .h5 or .keras file of Keras 3, or the folder of a training run.

    Raises:
        ValueError: If there is no model, or it carries code.
    """
    if not model.exists():
        raise ValueError(f"{model}: no such file or folder; check the path")
    network = averaged(model) if model.is_dir() else open_keras3(model)

    def draw(image: FloatImage) -> FloatImage:
        output = keras.ops.convert_to_numpy(network(image[np.newaxis], training=False))
        return np.asarray(output[0], np.float32)

    return draw, network.inputs[0].shape[-1] == 4
