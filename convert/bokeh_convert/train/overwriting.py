"""Keeps a command of `bokeh-train` from writing over what it reads."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bokeh_runtime.errors import InputError


def refuse_overwriting(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Checks that no output of a command is one of its inputs, also by another path.

    Args:
        outputs: Files and folders that are to be written.
        inputs: Files and folders that are read. What does not exist is passed over.

    Raises:
        InputError: If an output is an input.
    """
    existing = [path for path in inputs if path.exists()]
    for output in outputs:
        # `samefile` follows links, and knows a file by whatever path it is named.
        if output.exists() and any(output.samefile(path) for path in existing):
            raise InputError(
                f"{output}: is read by this command, which would write over it; choose another "
                "place for the output"
            )
