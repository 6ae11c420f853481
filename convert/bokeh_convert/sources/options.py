"""How to read a source: options for what the file itself does not define."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bokeh_convert.process_state import search_path
from bokeh_runtime.errors import Argument, InputError

TRUST_SOURCE = Argument("trust_source", True)
"""For error messages: the argument that allows code in the source."""


def custom_object(module: str, name: str) -> Argument:
    """Returns, for error messages, the argument that gives a class of the user's."""
    return Argument("custom_objects", [f"{module}:{name}"], f"{module}:{name}")


@dataclass(frozen=True)
class SourceOptions:
    """How to read a source.

    Attributes:
        level: Use the output of this size: "l_up" (twice the input's size), "l0" (the same), "l1"
            (half) to "l5" (1/32).
        output_name: Use the output with this name. If neither is given, the largest output is used;
            there must be only one of that size.
        width, input_channels, residual: Arguments of `bokeh_convert.pynet.network.pynet` for
            weights files; None for the PyNET authors' 1.0, 4 and False.
        trust_source: Allow layers that are stored as code, and functions that are not on the
            allowlists of `bokeh_convert.sources.security`.
        custom_objects: The user's own layer classes, each as "module:NAME".
        resampling: How photos were resized in training, one of
            `bokeh_runtime.imaging.resample.RESAMPLING`; None for "bicubic" if the source is a
            checkpoint of the PyNET authors, else "area".
    """

    level: str | None = None
    output_name: str | None = None
    width: float | None = None
    input_channels: int | None = None
    residual: bool | None = None
    trust_source: bool = False
    custom_objects: Sequence[str] = ()
    resampling: str | None = None

    @property
    def custom_names(self) -> frozenset[str]:
        """Names of the custom classes, without their modules."""
        return frozenset(name.rpartition(":")[2] for name in self.custom_objects)

    def load_custom_objects(self) -> dict[str, object]:
        """Imports the user's classes. The current folder is searched first.

        It is searched only during this call, not for imports that the classes do later.

        Returns:
            The classes by name.

        Raises:
            InputError: If one cannot be imported.
        """
        found: dict[str, object] = {}
        for given in self.custom_objects:
            module, colon, name = given.rpartition(":")
            argument = Argument("custom_objects", [given], given)
            if not colon or not module or not name:
                raise InputError(argument, ": the format is module:NAME")
            try:
                with search_path(os.curdir):
                    found[name] = getattr(importlib.import_module(module), name)
            except AttributeError as error:
                raise InputError(argument, f": {module} has no {name}; check the name") from error
            except Exception as error:  # the user's module may raise anything
                raise InputError(
                    argument,
                    f": importing {module} failed ({error}); "
                    "run from its folder, or set PYTHONPATH",
                ) from error
        return found

    def refuse_pynet_options(self, path: Path) -> None:
        """Refuses, for a whole model, the options that are for weights files.

        Raises:
            InputError: If one of them is given.
        """
        for name, value in (
            ("width", self.width),
            ("input_channels", self.input_channels),
            ("residual", self.residual),
        ):
            if value is not None:
                raise InputError(
                    f"{path}: contains a whole model", remedy=("omit ", Argument(name))
                )
