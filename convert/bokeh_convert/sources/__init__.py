"""Readers of trained models, which return a `FloatModel`; `formats/` has one module per format."""

from __future__ import annotations

from pathlib import Path

from bokeh_convert.process_state import random_state, require_tensorflow_backend
from bokeh_convert.sources.float_model import FloatModel
from bokeh_convert.sources.formats import SourcePath, source_formats
from bokeh_convert.sources.options import SourceOptions
from bokeh_convert.sources.other_formats import refuse_other_formats
from bokeh_runtime.errors import InputError

__all__ = ["FloatModel", "SourceOptions", "read_model"]


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
        source = SourcePath.at(path)
        for source_format in source_formats():
            if source_format.recognizes(source):
                return source_format.read(path, options)
        raise _refusal(source)


def _refusal(source: SourcePath) -> InputError:
    """Returns the error that says why nothing can read a source."""
    path = source.path
    if path.is_dir():
        checkpoints = sorted(index.stem for index in path.glob("*.index"))
        if checkpoints:
            return InputError(
                f"{path}: is a folder of checkpoints; give one of them: {', '.join(checkpoints)}"
            )
        return InputError(
            f"{path}: is a folder without a saved_model.pb; give a SavedModel or a file"
        )
    if not path.exists():
        return InputError(f"{path}: no such file; check the path")
    if path.stat().st_size == 0:
        return InputError(f"{path}: the file is empty; copy or save it again")
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        return InputError(f"{path}: cannot be read ({error.strerror}); check its permissions")
    refuse_other_formats(path, source.start)
    return InputError(f"{path}: is neither HDF5 (.h5) nor .keras; give a model saved by Keras")
