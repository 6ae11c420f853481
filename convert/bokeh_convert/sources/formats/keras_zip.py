"""`.keras` files: the archives of Keras 3."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from bokeh_convert.sources.formats import SourcePath

if TYPE_CHECKING:
    from bokeh_convert.sources.float_model import FloatModel
    from bokeh_convert.sources.options import SourceOptions

_CONFIG = "config.json"


def recognizes(source: SourcePath) -> bool:
    """Whether the file is an archive with the configuration of a model."""
    if not source.start.startswith(b"PK"):
        return False
    try:
        with zipfile.ZipFile(source.path) as archive:
            return _CONFIG in archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, OSError):
        return False


def read(path: Path, options: SourceOptions) -> FloatModel:
    """Loads a `.keras` file.

    Raises:
        InputError: If the file is damaged, is not a Keras 3 model, or contains code.
    """
    from bokeh_convert.sources.keras3 import read_keras3_zip

    return read_keras3_zip(path, options)
