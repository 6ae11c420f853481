"""Reads the model configuration that Keras stores in an `.h5` file."""

from __future__ import annotations

import json
from pathlib import Path

import h5py

from bokeh_convert.sources.float_model import loading_errors
from bokeh_convert.sources.model_types import Json
from bokeh_convert.sources.options import SourceOptions
from bokeh_convert.sources.security.hdf5 import refuse_foreign_data
from bokeh_runtime.errors import InputError


def stored_config(path: Path, options: SourceOptions) -> tuple[Json, str]:
    """Returns the parsed model configuration, None if there is none, and the Keras version.

    Raises:
        InputError: If the file is damaged, or refers to data in other files.
    """
    try:
        with h5py.File(path, "r") as file, loading_errors(path, "the HDF5 reader"):
            if not options.trust_source:
                refuse_foreign_data(path, file)
            text = file.attrs.get("model_config")
            version = file.attrs.get("keras_version", "2.0")
    except OSError as error:
        raise InputError(f"{path}: the HDF5 file is truncated or damaged; copy it again") from error
    # Keras before 2.3 stored bytes.
    version = version.decode(errors="replace") if isinstance(version, bytes) else str(version)
    if text is None:
        return None, version
    with loading_errors(path, "the HDF5 reader"):
        return json.loads(text), version
