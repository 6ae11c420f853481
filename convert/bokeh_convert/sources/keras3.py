"""Reads the `.keras` files of Keras 3."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import keras

import bokeh_convert.pynet.layers  # noqa: F401  (registers our layers with Keras)
from bokeh_convert.sources.float_model import FloatModel, keras_model, refusing, suffixed
from bokeh_convert.sources.guard import custom_aliases, refuse_code
from bokeh_convert.sources.options import SourceOptions
from bokeh_runtime.errors import InputError


def read_keras3_zip(path: Path, options: SourceOptions) -> FloatModel:
    """Loads a `.keras` file.

    Raises:
        InputError: If the file is damaged, is no Keras model, or carries code.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read("config.json"))
    except zipfile.BadZipFile as error:
        raise InputError(f"{path}: archive cut short or damaged; copy it again") from error
    except (KeyError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: an archive without a Keras model; give a .keras file") from error
    return load_keras3(path, ".keras", "keras3-zip", config, options)


def load_keras3(
    path: Path, suffix: str, file_format: str, config: Any, options: SourceOptions
) -> FloatModel:
    """Loads a whole model of Keras 3 after a look at its configuration.

    Raises:
        InputError: If it carries code, or Keras cannot load it.
    """
    options.refuse_pynet_options(path)
    if not options.trust_source:
        refuse_code(path, config, options.custom_names)
    objects = custom_aliases(config, options.load_custom_objects())
    with refusing(path, f"Keras {keras.__version__}"), suffixed(path, suffix) as named:
        model = keras.saving.load_model(
            named, custom_objects=objects, compile=False, safe_mode=not options.trust_source
        )
    return keras_model(path, file_format, model, options)
