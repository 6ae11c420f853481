"""Checks the symbolic links in the folder of a model."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bokeh_convert.sources.options import TRUST_SOURCE
from bokeh_runtime.errors import InputError


def refuse_foreign_files(source: Path, files: Iterable[Path], folder: Path) -> None:
    """Refuses symbolic links to files outside of the model's folder.

    The target of such a link would be read as weights and end up in the converted file.

    Args:
        source: The path that the user gave, for error messages.
        files: Files of the model.
        folder: Folder that the targets must be in, at any depth.

    Raises:
        InputError: If a link points out of the folder.
    """
    inside = folder.resolve()
    for file in files:
        if file.is_symlink() and not file.resolve().is_relative_to(inside):
            raise InputError(
                f"{source}: {file.name} is a link to {file.resolve()}, outside of the model's "
                "folder",
                remedy=("copy the model with its files, or trust the source with ", TRUST_SOURCE),
            )
