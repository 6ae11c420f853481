"""Holds HDF5 files to their own content, and makes the copies that are loaded."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from bokeh_convert.sources.model_types import JsonObject
from bokeh_runtime.errors import InputError

MOST_BYTES = 4 << 30
"""Of weights: twice what a .tflite file can hold."""
_MOST_EXPANSION = 100
_ALWAYS_BYTES = 256 << 20


def refuse_foreign_data(path: Path, file: h5py.File) -> None:
    """Refuses an HDF5 file that takes data from elsewhere, or unpacks to far more than it holds.

    A link or a dataset may name any file of this machine, which would be read as weights and end up
    in the converted file.

    Args:
        path: For the message.
        file: Open for reading.

    Raises:
        InputError: If it does.
    """
    size = sum(_datasets(path, file["/"], set()))
    limit = max(_ALWAYS_BYTES, _MOST_EXPANSION * path.stat().st_size)
    if size > min(MOST_BYTES, limit):
        raise InputError(
            f"{path}: its arrays unpack to {size / 1e9:.1f} GB, which no network here needs; "
            "save the model again with model.save(), or trust the file with --trust-source"
        )


def _datasets(path: Path, group: h5py.Group, seen: set[int]) -> Iterator[int]:
    """Yields the size in bytes of each dataset, unpacked."""
    for name in group:
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            target = getattr(link, "filename", "") or getattr(link, "path", "")
            raise InputError(_foreign(path, f"{group.name}/{name}", f"a link to {target}"))
        item = group[name]
        info = h5py.h5o.get_info(item.id)
        if info.addr in seen:
            continue
        seen.add(info.addr)
        if isinstance(item, h5py.Group):
            yield from _datasets(path, item, seen)
        elif isinstance(item, h5py.Dataset):
            if item.external:
                raise InputError(_foreign(path, item.name, f"stored in {item.external[0][0]}"))
            if item.is_virtual:
                files = sorted({source.file_name for source in item.virtual_sources()})
                raise InputError(_foreign(path, item.name, f"put together from {files[:3]}"))
            yield 0 if item.shape is None else item.nbytes


def _foreign(path: Path, name: str, what: str) -> str:
    return (
        f"{path}: {name.replace('//', '/')} is {what[:200]}, and weights must stand in the file "
        "itself; save the model again with model.save(), or trust the file with --trust-source"
    )


@contextmanager
def checked_copy(path: Path, config: JsonObject) -> Iterator[Path]:
    """Yields a copy of a Keras `.h5` file that holds a configuration and the weights alone.

    Args:
        path: A file that `refuse_foreign_data` let pass.
        config: What `checked_config` returned.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "model.h5"
        with h5py.File(path, "r") as old, h5py.File(copy, "w") as new:
            new.attrs["model_config"] = json.dumps(config)
            if "model_weights" in old:
                refuse_foreign_data(path, old)
                old.copy("model_weights", new)
        yield copy
