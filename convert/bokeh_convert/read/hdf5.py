"""Tells the `.h5` files of Keras 2 and Keras 3 apart and reads the latter."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import keras

import bokeh_convert.layers  # noqa: F401  (registers our layers with Keras)
from bokeh_convert.read.float_model import FloatModel, keras_model, refusing, suffixed
from bokeh_convert.read.guard import refuse_code
from bokeh_runtime.errors import InputError


def read_hdf5(path: Path) -> FloatModel:
    """Loads a whole model from an `.h5` file.

    Raises:
        InputError: If the file is damaged, holds weights alone, or carries code.
    """
    try:
        with h5py.File(path, "r") as file:
            config = file.attrs.get("model_config")
            version = str(file.attrs.get("keras_version", "2.0"))
    except OSError as error:
        raise InputError(f"{path}: HDF5 file cut short or damaged; copy it again") from error
    if config is None:
        raise InputError(
            f"{path}: holds weights without a model; save the whole model with model.save()"
        )
    with refusing(path, "the HDF5 reader"):
        refuse_code(path, json.loads(config))
    if version.startswith("2."):
        from bokeh_convert.read.keras2 import read_keras2

        return read_keras2(path)
    with refusing(path, f"Keras {keras.__version__}"), suffixed(path, ".h5") as named:
        model = keras.saving.load_model(named, compile=False, safe_mode=True)
    return keras_model(path, "keras3-h5", model)
