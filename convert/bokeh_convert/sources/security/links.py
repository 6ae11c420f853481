"""Refuses symbolic links that lead out of the folder of a model."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bokeh_runtime.errors import InputError


def refuse_foreign_files(source: Path, files: Iterable[Path], folder: Path) -> None:
    """Refuses files of a model that are links to somewhere else on this machine.

    What such a link leads to would be read as weights and end up in the converted file.

    Args:
        source: What the user named, for the message.
        files: What belongs to it.
        folder: What the files may be in, at any depth.

    Raises:
        InputError: If a link leads out of the folder.
    """
    inside = folder.resolve()
    for file in files:
        if file.is_symlink() and not file.resolve().is_relative_to(inside):
            raise InputError(
                f"{source}: {file.name} is a link to {file.resolve()}, outside of the model's "
                "folder; copy the model with its files, or trust the source with --trust-source"
            )
