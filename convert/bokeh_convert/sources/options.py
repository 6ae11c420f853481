"""How to read a source: options for what the file itself does not define."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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
        custom_objects: The user's own layer classes, each as "module:NAME" or "file.py:NAME".
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
