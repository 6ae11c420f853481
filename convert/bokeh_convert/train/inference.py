"""Opens a trained model for inference, with any Keras backend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from bokeh_convert.sources.keras3 import open_keras3
from bokeh_convert.sources.tracing import cause_of
from bokeh_convert.train.trainer import load_averaged
from bokeh_runtime.errors import Argument, InputError
from bokeh_runtime.imaging.photo import FloatImage


def open_for_inference(model: Path) -> tuple[Callable[[FloatImage], FloatImage], bool]:
    """Opens a model.

    Args:
        model: An .h5 or .keras file of Keras 3, or the folder of a training run.

    Returns:
        A function from network input, float [height, width, 3 or 4] in [0, 1], to network output,
        float [h, w, 3] in about [0, 1], not clipped; and whether the model takes depth.

    Raises:
        InputError: If there is no model, the file contains code, or the network is not one from a
            photo to a photo. The function raises it for a size that the network does
            not take.
    """
    if not model.exists():
        raise InputError(f"{model}: no such file or folder; check the path")
    network = load_averaged(model) if model.is_dir() else open_keras3(model)
    _refuse_other_network(model, network)

    def infer(network_input: FloatImage) -> FloatImage:
        height, width = network_input.shape[:2]
        try:
            output = network(network_input[np.newaxis], training=False)
        except Exception as error:  # each backend has its own for shapes that do not fit
            raise InputError(
                f"{model}: does not run on {width} x {height} px ({cause_of(error)})",
                remedy=("give another ", Argument("short_side")),
            ) from error
        return np.asarray(keras.ops.convert_to_numpy(output)[0], np.float32)

    return infer, network.inputs[0].shape[-1] == 4


def _refuse_other_network(model: Path, network: Any) -> None:
    """Checks the inputs and outputs of a network."""
    for kind, tensors in (("input", network.inputs), ("output", network.outputs)):
        if len(tensors) != 1:
            raise InputError(f"{model}: has {len(tensors)} {kind}s; give a model with one")
    image, drawn = tuple(network.inputs[0].shape), tuple(network.outputs[0].shape)
    if len(image) != 4 or image[-1] not in (3, 4):
        raise InputError(
            f"{model}: takes {_sides(image)}; give a model of RGB or RGB + depth, channels last"
        )
    if len(drawn) != 4 or drawn[-1] != 3:
        raise InputError(f"{model}: returns {_sides(drawn)}; give a model that returns RGB")


def _sides(shape: tuple[int | None, ...]) -> str:
    return " x ".join("any" if side is None else str(side) for side in shape[1:])
