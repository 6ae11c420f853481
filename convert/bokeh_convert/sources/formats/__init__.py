"""The kinds of files that a trained model can be in: one small module for each.

A module that is put here is found by itself. It imports what its reader needs, such as TensorFlow,
inside of `read`, because all modules are imported to find the one that recognizes a source.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable

from bokeh_runtime.discovery import modules_in

if TYPE_CHECKING:
    from bokeh_convert.sources.float_model import FloatModel
    from bokeh_convert.sources.options import SourceOptions

_START_BYTES = 64


@dataclass(frozen=True)
class SourcePath:
    """What is at the path that the user gave.

    Attributes:
        path: The path. There may be nothing: checkpoints are given by the prefix of their files.
        start: The first 64 bytes of a file; empty if it is no file or cannot be read.
    """

    path: Path
    start: bytes

    @classmethod
    def at(cls, path: Path) -> SourcePath:
        """Looks at a path without raising an error if nothing is there."""
        try:
            with path.open("rb") as file:
                return cls(path, file.read(_START_BYTES))
        except OSError:
            return cls(path, b"")


@runtime_checkable
class SourceFormat(Protocol):
    """What a module of this package offers."""

    def recognizes(self, source: SourcePath) -> bool:
        """Whether `read` is for this source, told by its content, since files are renamed."""

    def read(self, path: Path, options: SourceOptions) -> FloatModel:
        """Loads the model.

        Raises:
            InputError: If it is damaged, contains code, or is of an unsupported kind.
        """


def source_formats() -> list[SourceFormat]:
    """Returns the modules of this package, by their names in alphabetical order.

    Raises:
        TypeError: If a module lacks a function of `SourceFormat`.
    """
    modules = modules_in(__name__, __path__)
    for module in modules:
        if not isinstance(module, SourceFormat):
            raise TypeError(f"{module.__name__} has not both functions of SourceFormat")
    return cast("list[SourceFormat]", modules)
