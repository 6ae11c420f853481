"""Opens a trained model for inference, with any Keras backend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from bokeh_convert.sources.keras3 import open_keras3
from bokeh_convert.train.trainer import load_averaged
from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.photo import FloatImage


def open_for_inference(model: Path) -> tuple[Callable[[FloatImage], FloatImage], bool]:
    """Opens a model.

    Args:
        model: An .h5 or .keras file of Keras 3, or the folder of a training run.

    Returns:
        A function from network input, float [height, width, 3 or 4] in [0, 1], to network output,
        float [h, w, 3] in about [0, 1], not clipped; and whether the model takes depth.

    Raises:
        InputError: If there is no model, or the file contains code.
    """
    if not model.exists():
        raise InputError(f"{model}: no such file or folder; check the path")
    network = load_averaged(model) if model.is_dir() else open_keras3(model)

    def infer(network_input: FloatImage) -> FloatImage:
        output = keras.ops.convert_to_numpy(network(network_input[np.newaxis], training=False))
        return np.asarray(output[0], np.float32)

    return infer, network.inputs[0].shape[-1] == 4
