"""`.h5` files: whole models of Keras 2 and 3, and the weights of our PyNET."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bokeh_convert.sources.formats import SourcePath

if TYPE_CHECKING:
    from bokeh_convert.sources.float_model import FloatModel
    from bokeh_convert.sources.options import SourceOptions

_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def recognizes(source: SourcePath) -> bool:
    """Whether the file starts with the signature of HDF5."""
    return source.start.startswith(_SIGNATURE)


def read(path: Path, options: SourceOptions) -> FloatModel:
    """Loads a model from an `.h5` file with the reader for what it holds.

    Raises:
        InputError: If the file is damaged, contains code, or its weights do not fit our PyNET.
    """
    from bokeh_convert.sources.hdf5_config import stored_config

    config, version = stored_config(path, options)
    if config is None:
        from bokeh_convert.sources.weights import read_weights

        return read_weights(path, options)
    if version.startswith("2."):
        from bokeh_convert.sources.keras2 import read_keras2

        return read_keras2(path, config, options)
    from bokeh_convert.sources.keras3 import load_keras3

    return load_keras3(path, ".h5", "keras3-h5", config, options)
