"""Reads the `.keras` files of Keras 3."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import keras

import bokeh_convert.layers  # noqa: F401  (registers our layers with Keras)
from bokeh_convert.read.float_model import FloatModel, keras_model, refusing, suffixed
from bokeh_convert.read.guard import refuse_code
from bokeh_runtime.errors import InputError


def read_keras3_zip(path: Path) -> FloatModel:
    """Loads a `.keras` file.

    Raises:
        InputError: If the file is damaged, is no Keras model, or carries code.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read("config.json"))
    except zipfile.BadZipFile as error:
        raise InputError(f"{path}: archive cut short or damaged; copy it again") from error
    except KeyError as error:
        raise InputError(f"{path}: an archive without a Keras model; give a .keras file") from error
    refuse_code(path, config)
    with refusing(path, f"Keras {keras.__version__}"), suffixed(path, ".keras") as named:
        model = keras.saving.load_model(named, compile=False, safe_mode=True)
    return keras_model(path, "keras3-zip", model)
