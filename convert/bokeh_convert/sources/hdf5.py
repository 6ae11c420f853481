"""Tells the `.h5` files of Keras 2, of Keras 3 and of weights alone apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py

from bokeh_convert.sources.float_model import FloatModel, refusing
from bokeh_convert.sources.options import SourceOptions
from bokeh_convert.sources.security.hdf5 import refuse_foreign_data
from bokeh_runtime.errors import InputError


def stored_config(path: Path, options: SourceOptions) -> tuple[Any, str]:
    """Returns the parsed configuration of a model, None where there is none, and Keras' version.

    Raises:
        InputError: If the file is damaged, or takes data from elsewhere.
    """
    try:
        with h5py.File(path, "r") as file, refusing(path, "the HDF5 reader"):
            if not options.trust_source:
                refuse_foreign_data(path, file)
            text = file.attrs.get("model_config")
            version = file.attrs.get("keras_version", "2.0")
    except OSError as error:
        raise InputError(f"{path}: HDF5 file cut short or damaged; copy it again") from error
    # Files of Keras before 2.3 hold bytes.
    version = version.decode(errors="replace") if isinstance(version, bytes) else str(version)
    if text is None:
        return None, version
    with refusing(path, "the HDF5 reader"):
        return json.loads(text), version


def read_hdf5(path: Path, options: SourceOptions) -> FloatModel:
    """Loads a model from an `.h5` file.

    Raises:
        InputError: If the file is damaged, carries code, or holds weights that do not fit.
    """
    config, version = stored_config(path, options)
    if config is None:
        from bokeh_convert.sources.weights import read_weights

        return read_weights(path, options)
    if version.startswith("2."):
        from bokeh_convert.sources.keras2 import read_keras2

        return read_keras2(path, config, options)
    from bokeh_convert.sources.keras3 import load_keras3

    return load_keras3(path, ".h5", "keras3-h5", config, options)
