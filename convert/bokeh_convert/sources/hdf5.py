"""Selects the reader of an `.h5` file: Keras 2, Keras 3, or weights only."""

from __future__ import annotations

from pathlib import Path

from bokeh_convert.sources.float_model import FloatModel
from bokeh_convert.sources.hdf5_config import stored_config
from bokeh_convert.sources.options import SourceOptions


def read_hdf5(path: Path, options: SourceOptions) -> FloatModel:
    """Loads a model from an `.h5` file.

    Raises:
        InputError: If the file is damaged, contains code, or its weights do not fit our PyNET.
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
