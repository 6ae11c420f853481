"""The state of a training run on disk: the weights, the optimizer's variables and the step."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bokeh_runtime.atomic_output import AtomicOutput
from bokeh_runtime.errors import InputError
from bokeh_runtime.windows_files import why

CHECKPOINT = "checkpoint.npz"
LOG = "log.jsonl"
_CONFIG_KEY = "plan"  # as in the checkpoints of older versions

Arrays = Mapping[str, npt.NDArray[Any]]


def write_checkpoint(
    run: Path, config: Mapping[str, Any], step: int, arrays: Arrays, log: Mapping[str, Any]
) -> None:
    """Writes a checkpoint, atomically, and appends a line to the log.

    Args:
        run: Folder of the run.
        config: The configuration, JSON data.
        step: Number of steps done.
        arrays: All else that is needed to resume.
        log: Values for the line, JSON data.

    Raises:
        InputError: If the folder cannot be written to, or the disk is full.
    """
    with AtomicOutput(run) as staging:
        with staging.path(CHECKPOINT).open("wb") as file:
            every: dict[str, Any] = {**arrays, _CONFIG_KEY: np.array(json.dumps(config))}
            np.savez(file, step=step, **every)
        staging.commit()
    try:
        with (run / LOG).open("a", encoding="utf-8") as lines:
            lines.write(json.dumps({"step": step, **log}) + "\n")
    except OSError as error:  # which names no file if the disk is full
        raise InputError(
            f"{run / LOG}: cannot be written ({why(error)}); free some space, or check the folder"
        ) from error


def read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the configuration and the arrays of a checkpoint, `step` among them.

    Raises:
        InputError: If the file is damaged.
    """
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            saved = {name: arrays[name] for name in arrays.files}
        if missing := {"step", _CONFIG_KEY} - saved.keys():
            raise ValueError(f"has no {', '.join(sorted(missing))}")
        config = json.loads(str(saved.pop(_CONFIG_KEY)))
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: is not a valid checkpoint ({error}); remove it, or use another folder"
        ) from error
    return config, saved


def refuse_other_config(path: Path, stored: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Checks that a run is resumed with the configuration that it was started with.

    Args:
        path: The checkpoint, for the error message.
        stored: Its configuration.
        config: The configuration now.

    Raises:
        InputError: If they differ.
    """
    differs = [name for name, value in config.items() if stored.get(name) != value]
    if differs:
        raise InputError(
            f"{path}: was trained with another {', '.join(differs)}; "
            "use the same configuration or another folder"
        )
