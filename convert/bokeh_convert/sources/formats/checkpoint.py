"""TF1 checkpoints of the PyNET authors' code, given by their prefix or by one of their files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bokeh_convert.sources.formats import SourcePath
from bokeh_convert.sources.other_formats import CHECKPOINT_PART

if TYPE_CHECKING:
    from bokeh_convert.sources.float_model import FloatModel
    from bokeh_convert.sources.options import SourceOptions


def recognizes(source: SourcePath) -> bool:
    """Whether the path is a prefix or a part of a checkpoint, with its index beside it."""
    path, prefix = source.path, _prefix(source.path)
    # A file of that very name is something else: a checkpoint's parts all have longer names.
    if path.is_dir() or (prefix == path and path.exists()):
        return False
    return prefix.with_name(f"{prefix.name}.index").exists()


def read(path: Path, options: SourceOptions) -> FloatModel:
    """Loads a checkpoint, assigning its variables by their order.

    Raises:
        InputError: If it is damaged, or is not a checkpoint of a PyNET of this width.
    """
    from bokeh_convert.sources.checkpoint import read_checkpoint

    return read_checkpoint(_prefix(path), options)


def _prefix(path: Path) -> Path:
    return path.with_name(CHECKPOINT_PART.sub("", path.name)) if path.name else path
