"""Writes the outputs of a teacher to disk, so that an interrupted or a full disk loses nothing."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bokeh_convert.train.teacher_outputs import DESCRIPTION, WEIGHTS, Teacher
from bokeh_runtime.atomic_output import AtomicOutput
from bokeh_runtime.errors import InputError
from bokeh_runtime.windows_files import why

Shapes = Mapping[str, tuple[Any, tuple[int, ...]]]
"""By part of a set ("input" or the name of a head): data type and shape."""
Arrays = dict[str, np.memmap[Any, Any]]
"""By part of a set, views first."""
_CANNOT_RESERVE = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}
"""Errors of file systems that do not reserve space."""


def views_done(folder: Path, name: str, count: int) -> int:
    """Returns how many of the `count` views of a set are stored.

    Raises:
        InputError: If the file that says so is damaged.
    """
    path = _done_file(folder, name)
    if not path.is_file():
        return 0
    text = path.read_text(errors="replace")
    if not (text.isascii() and text.isdigit() and int(text) <= count):
        raise InputError(
            f"{path}: is damaged; remove it, and the teacher runs on these views again"
        )
    return int(text)


def set_views_done(folder: Path, name: str, done: int) -> None:
    """Stores how many views of a set are stored.

    Raises:
        InputError: If the file cannot be written.
    """
    _write(folder, _done_file(folder, name).name, str(done))


def open_arrays(folder: Path, sets: Mapping[str, Shapes]) -> dict[str, Arrays]:
    """Opens the arrays of all sets for writing, and reserves their space on the disk.

    A memory map writes a sparse file. If the disk is full when a page of it is written, the process
    is killed by a signal, without a message.

    Args:
        folder: Folder of the outputs.
        sets: The shapes by the names of the sets. Their arrays are kept where views are stored.

    Returns:
        The arrays by set and part.

    Raises:
        InputError: If the disk has too little space, or a file is damaged.
    """
    found: dict[str, Arrays] = {}
    added = []
    try:
        for name, shapes in sets.items():
            found[name] = {}
            for part, (kind, shape) in shapes.items():
                path = folder / f"{name}.{part}.npy"
                keep = views_done(folder, name, shape[0]) > 0
                if not keep:
                    added.append(path)
                found[name][part] = _open(path, kind, shape, keep=keep)
                _reserve(path)
    except OSError as error:
        for path in added:  # else they would fill the disk
            path.unlink(missing_ok=True)
        parts = [one for shapes in sets.values() for one in shapes.values()]
        needed = sum(np.dtype(kind).itemsize * math.prod(shape) for kind, shape in parts)
        raise InputError(
            f"{folder}: the outputs of the teacher need {needed:,} bytes ({why(error)}); "
            "free some space, or choose another folder"
        ) from error
    return found


def _open(path: Path, kind: Any, shape: tuple[int, ...], *, keep: bool) -> np.memmap[Any, Any]:
    try:
        array = np.lib.format.open_memmap(
            path, mode="r+" if keep else "w+", dtype=kind, shape=shape
        )
        if array.shape != shape or array.dtype != kind:
            raise ValueError(f"holds {array.dtype} {list(array.shape)}")
    except (EOFError, FileNotFoundError, ValueError) as error:
        raise InputError(
            f"{path}: is damaged ({why(error)}); remove {path.parent}, and repeat the command"
        ) from error
    return array


def _reserve(path: Path) -> None:
    if not hasattr(os, "posix_fallocate"):  # macOS and Windows
        return
    with path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            if error.errno not in _CANNOT_RESERVE:
                raise


def describe(folder: Path, teacher: Teacher, digest: str) -> None:
    """Stores which teacher the folder is for, and on what it is run.

    Args:
        folder: Folder of the outputs.
        teacher: The teacher.
        digest: Hash of the teacher, its photos and how it is run.

    Raises:
        InputError: If the folder holds other outputs, its description is damaged, or it cannot be
            written to.
    """
    path = folder / DESCRIPTION
    if path.is_file():
        try:
            stored = json.loads(path.read_text())["digest"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path}: is damaged ({error}); remove {folder}, and repeat the command"
            ) from error
        if stored != digest:
            raise InputError(
                f"{folder}: holds the outputs of another teacher or of other photos; remove it, or "
                "use another folder"
            )
    _write(folder, path.name, json.dumps({"digest": digest, "teacher": asdict(teacher)}, indent=1))


def save_weights(folder: Path, model: Any) -> None:
    """Stores the weights of a teacher of Keras 3; of others, nothing.

    Args:
        folder: Folder of the outputs.
        model: The Keras model, or None.

    Raises:
        InputError: If the folder cannot be written to.
    """
    if model is None:
        return
    arrays = {
        f"{layer.name}/{number}": value
        for layer in model.layers
        for number, value in enumerate(layer.get_weights())
    }
    with AtomicOutput(folder) as output:
        np.savez(output.path(WEIGHTS), **arrays)
        output.commit()


def _done_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.done"


def _write(folder: Path, name: str, text: str) -> None:
    with AtomicOutput(folder) as output:
        output.path(name).write_text(text)
        output.commit()
