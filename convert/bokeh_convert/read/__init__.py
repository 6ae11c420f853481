"""Opens trained models. One module for each file format; all return a `FloatModel`."""

from __future__ import annotations

from pathlib import Path

from bokeh_convert.read.float_model import FloatModel
from bokeh_runtime.errors import InputError

__all__ = ["FloatModel", "read_model"]


def read_model(path: Path) -> FloatModel:
    """Loads a trained model.

    Args:
        path: A whole model: `.h5` saved by Keras 2 or 3, or `.keras` saved by Keras 3.

    Raises:
        InputError: If the file is missing, damaged, of another kind, or carries code.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file; check the path")
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give an .h5 or .keras file")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty; copy or save it again")
    # By content, not by suffix: people rename files.
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its rights") from error
    if start.startswith(b"PK"):
        from bokeh_convert.read.keras3_zip import read_keras3_zip

        return read_keras3_zip(path)
    if start == b"\x89HDF\r\n\x1a\n":
        from bokeh_convert.read.hdf5 import read_hdf5

        return read_hdf5(path)
    raise InputError(f"{path}: neither HDF5 (.h5) nor .keras; give a whole model saved by Keras")
