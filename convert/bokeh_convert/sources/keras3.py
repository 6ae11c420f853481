"""Reads the `.keras` and `.h5` files of Keras 3."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import cast

import keras

import bokeh_convert.pynet.int8_aware
import bokeh_convert.pynet.layers  # noqa: F401  (both register our layers with Keras)
from bokeh_convert.sources.config_rewrites import rewritten_config
from bokeh_convert.sources.custom_objects import load_custom_objects
from bokeh_convert.sources.float_model import FloatModel, keras_model, loading_errors, suffixed
from bokeh_convert.sources.hdf5_config import stored_config
from bokeh_convert.sources.model_types import Json, KerasModel
from bokeh_convert.sources.options import SourceOptions
from bokeh_convert.sources.security.archive import read_config, unpacked
from bokeh_convert.sources.security.config import checked_config, custom_aliases
from bokeh_convert.sources.security.hdf5 import checked_copy
from bokeh_convert.sources.security.layers import KERAS_3
from bokeh_runtime.errors import InputError

_KERAS_2_MODULES = ("keras.engine", "keras.src.engine", "tf_keras")


def read_keras3_zip(path: Path, options: SourceOptions) -> FloatModel:
    """Loads a `.keras` file.

    Raises:
        InputError: If the file is damaged, is not a Keras 3 model, or contains code.
    """
    config = read_config(path, options)
    module = config.get("module") if isinstance(config, dict) else None
    if isinstance(module, str) and module.startswith(_KERAS_2_MODULES):
        raise InputError(
            f"{path}: is a .keras file of Keras 2, which is not supported; "
            "save the model from Keras 2 with model.save('model.h5')"
        )
    return load_keras3(path, ".keras", "keras3-zip", config, options)


def load_keras3(
    path: Path, suffix: str, file_format: str, config: Json, options: SourceOptions
) -> FloatModel:
    """Checks the configuration of a whole model of Keras 3, and loads the model.

    Raises:
        InputError: If it contains code, or Keras cannot load it.
    """
    options.refuse_pynet_options(path)
    return keras_model(path, file_format, _network(path, suffix, config, options), options)


def open_keras3(path: Path, options: SourceOptions | None = None) -> KerasModel:
    """Returns the Keras model of an `.h5` or `.keras` file, with any Keras backend.

    Raises:
        InputError: If the file is missing or damaged, is not a whole model, or contains code.
    """
    options = options or SourceOptions()
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    if zipfile.is_zipfile(path):
        return _network(path, ".keras", read_config(path, options), options)
    config, _ = stored_config(path, options)
    if config is None:
        raise InputError(f"{path}: contains only weights; save the model with model.save()")
    return _network(path, ".h5", config, options)


def _network(path: Path, suffix: str, config: Json, options: SourceOptions) -> KerasModel:
    checked = config
    if not options.trust_source:
        checked = checked_config(path, config, KERAS_3, options.custom_names)
    objects = load_custom_objects(options.custom_objects)
    with loading_errors(path, f"Keras {keras.__version__}"):
        rewritten = rewritten_config(path, checked, options.custom_names)
        if options.trust_source:
            objects = custom_aliases(config, objects)
        if options.trust_source and rewritten == config:
            with suffixed(path, suffix) as named:
                loaded = keras.saving.load_model(
                    named, custom_objects=objects, compile=False, safe_mode=False
                )
                return cast(KerasModel, loaded)
        copied = unpacked if suffix == ".keras" else checked_copy
        with copied(path, rewritten) as copy:
            loaded = keras.saving.load_model(
                copy, custom_objects=objects, compile=False, safe_mode=not options.trust_source
            )
            return cast(KerasModel, loaded)
