"""Refuses models whose configuration carries code.

Loading such a file would run whatever its author put there: tf-keras does so without asking.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bokeh_runtime.errors import InputError

_CODE_CLASSES = ("Lambda", "__lambda__", "TorchModuleWrapper", "FlaxLayer", "JaxLayer")


def refuse_code(path: Path, config: Any) -> None:
    """Checks a model's configuration before anything is built from it.

    Args:
        path: The file, for the message.
        config: The parsed JSON.

    Raises:
        InputError: If a layer is stored as code.
    """
    for name in _class_names(config):
        if name in _CODE_CLASSES:
            raise InputError(
                f"{path}: holds a {name} layer, which is code that loading would run; "
                "replace it by a layer class and save the model again"
            )


def _class_names(config: Any) -> Iterator[str]:
    if isinstance(config, dict):
        name = config.get("class_name")
        if isinstance(name, str):
            yield name.rpartition(">")[2]
        for value in config.values():
            yield from _class_names(value)
    elif isinstance(config, list):
        for value in config:
            yield from _class_names(value)
