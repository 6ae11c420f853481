"""SavedModel folders of TensorFlow 1 and 2."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bokeh_convert.sources.formats import SourcePath

if TYPE_CHECKING:
    from bokeh_convert.sources.float_model import FloatModel
    from bokeh_convert.sources.options import SourceOptions


def recognizes(source: SourcePath) -> bool:
    """Whether the folder has a graph."""
    return (source.path / "saved_model.pb").exists()


def read(path: Path, options: SourceOptions) -> FloatModel:
    """Loads a SavedModel through its serving signature.

    Raises:
        InputError: If it is damaged, has no usable signature, or its graph has operators with side
            effects.
    """
    from bokeh_convert.sources.saved_model import read_saved_model

    return read_saved_model(path, options)
