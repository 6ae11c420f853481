"""Readers of trained models, one module per file format. All return a `FloatModel`."""

from __future__ import annotations

import re
from pathlib import Path

from bokeh_convert.process_state import random_state, require_tensorflow_backend
from bokeh_convert.sources.float_model import FloatModel
from bokeh_convert.sources.options import SourceOptions
from bokeh_convert.sources.other_formats import refuse_other_formats
from bokeh_runtime.errors import InputError

__all__ = ["FloatModel", "SourceOptions", "read_model"]

_CHECKPOINT_PART = re.compile(r"\.(index|meta|data-\d{5}-of-\d{5})$")


def read_model(path: Path, options: SourceOptions | None = None) -> FloatModel:
    """Loads a trained model.

    Args:
        path: A whole model (`.h5` of Keras 2 or 3, `.keras`, a SavedModel folder), or the weights
            of our PyNET (`.h5`, `.weights.h5`, or the prefix of a TF1 checkpoint).
        options: How to read it; None for the defaults.

    Raises:
        InputError: If the source is missing, damaged, of an unsupported format, or contains code,
            or if the Keras backend is not TensorFlow.
    """
    options = options or SourceOptions()
    require_tensorflow_backend()
    with random_state():
        return _read(path, options)


def _read(path: Path, options: SourceOptions) -> FloatModel:
    prefix = path.with_name(_CHECKPOINT_PART.sub("", path.name)) if path.name else path
    if path.is_dir():
        return _read_folder(path, options)
    if (prefix != path or not path.exists()) and prefix.with_name(f"{prefix.name}.index").exists():
        from bokeh_convert.sources.checkpoint import read_checkpoint

        return read_checkpoint(prefix, options)
    if not path.exists():
        raise InputError(f"{path}: no such file; check the path")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty; copy or save it again")
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); check its permissions"
        ) from error
    # By content and not by suffix, because files are renamed.
    if start == b"\x89HDF\r\n\x1a\n":
        from bokeh_convert.sources.hdf5 import read_hdf5

        return read_hdf5(path, options)
    refuse_other_formats(path, start)
    if start.startswith(b"PK"):
        from bokeh_convert.sources.keras3 import read_keras3_zip

        return read_keras3_zip(path, options)
    raise InputError(f"{path}: is neither HDF5 (.h5) nor .keras; give a model saved by Keras")


def _read_folder(path: Path, options: SourceOptions) -> FloatModel:
    if (path / "saved_model.pb").exists():
        from bokeh_convert.sources.saved_model import read_saved_model

        return read_saved_model(path, options)
    checkpoints = sorted(index.stem for index in path.glob("*.index"))
    if checkpoints:
        raise InputError(
            f"{path}: is a folder of checkpoints; give one of them: {', '.join(checkpoints)}"
        )
    raise InputError(f"{path}: is a folder without a saved_model.pb; give a SavedModel or a file")
