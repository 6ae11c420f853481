"""What a user may say about a source that the file itself does not."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bokeh_convert.process_state import search_path
from bokeh_runtime.errors import InputError


@dataclass(frozen=True)
class SourceOptions:
    """How to read a source.

    Attributes:
        level: Take the output of this level's size: "l_up" (twice the input's), "l0" (the
            input's), "l1" (half) to "l5" (1/32).
        output_name: Take the output of this name. Without either, the largest is taken if no
            other is as large.
        width, input_channels, residual: Of our PyNET (see `bokeh_convert.pynet.network.pynet`),
            for files that hold weights alone; None for the authors' 1.0, 4 and False.
        trust_source: Build layers that are stored as code, and functions not known to be harmless.
        custom_objects: The user's own layer classes, each as "module:NAME".
        resampling: How photos were scaled in training, of
            `bokeh_runtime.imaging.resample.RESAMPLING`; None for "bicubic" where the source is the
            authors' checkpoint, "area" else.
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
        """The classes' names."""
        return frozenset(name.rpartition(":")[2] for name in self.custom_objects)

    def load_custom_objects(self) -> dict[str, object]:
        """Imports the user's classes, the current folder searched first.

        What their modules import later, when they are called, is not searched for there.

        Returns:
            The classes by name.

        Raises:
            InputError: If one cannot be imported.
        """
        found: dict[str, object] = {}
        for given in self.custom_objects:
            module, colon, name = given.rpartition(":")
            if not colon or not module or not name:
                raise InputError(f"--custom-objects {given}: write it as module:NAME")
            try:
                with search_path(os.curdir):
                    found[name] = getattr(importlib.import_module(module), name)
            except AttributeError as error:
                raise InputError(
                    f"--custom-objects {given}: {module} has no {name}; check the name"
                ) from error
            except Exception as error:  # the user's module may raise anything
                raise InputError(
                    f"--custom-objects {given}: importing {module} failed ({error}); "
                    "run from its folder, or set PYTHONPATH"
                ) from error
        return found

    def refuse_pynet_options(self, path: Path) -> None:
        """Refuses options that only weights alone need, for a file that holds a whole model."""
        for option, value in (
            ("--width", self.width),
            ("--input-channels", self.input_channels),
            ("--residual", self.residual),
        ):
            if value is not None:
                raise InputError(f"{path}: holds a whole model; leave {option} away")
