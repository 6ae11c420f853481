"""Checks HDF5 files, and makes the copies that are loaded."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from bokeh_convert.sources.model_types import JsonObject
from bokeh_convert.sources.options import TRUST_SOURCE
from bokeh_runtime.errors import InputError

MAX_BYTES = 4 << 30
"""Maximum size of the weights, twice the maximum size of a .tflite file."""
_MAX_COMPRESSION_RATIO = 100
_LISTS = ("layer_names", "weight_names")
_ALWAYS_ALLOWED_BYTES = 256 << 20
_REMEDY = ("save the model again with model.save(), or trust the file with ", TRUST_SOURCE)


def refuse_foreign_data(path: Path, file: h5py.File) -> None:
    """Refuses an HDF5 file that refers to other files, or decompresses to an implausible size.

    A link or an external dataset may name any file on this machine. HDF5 would read that file as
    weights, and its content would end up in the converted file. An array of several names would be
    read once for each, so that a small file could fill the memory.

    Args:
        path: The file, for error messages.
        file: The file, open for reading.

    Raises:
        InputError: If it is such a file.
    """
    size = sum(_datasets(path, file["/"]))
    _refuse_repeated_names(path, file)
    limit = max(_ALWAYS_ALLOWED_BYTES, _MAX_COMPRESSION_RATIO * path.stat().st_size)
    if size > min(MAX_BYTES, limit):
        raise InputError(
            f"{path}: its arrays decompress to {size / 1e9:.1f} GB, which is implausible",
            remedy=_REMEDY,
        )


def _datasets(path: Path, group: h5py.Group) -> Iterator[int]:
    """Yields the decompressed size of each dataset, in bytes."""
    for name in group:
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            target = getattr(link, "filename", "") or getattr(link, "path", "")
            raise _foreign(path, f"{group.name}/{name}", f"a link to {target}")
        item = group[name]
        if h5py.h5o.get_info(item.id).rc > 1:
            raise _implausible(path, item.name, "has several names")
        if isinstance(item, h5py.Group):
            yield from _datasets(path, item)
        elif isinstance(item, h5py.Dataset):
            if item.external:
                raise _foreign(path, item.name, f"stored in {item.external[0][0]}")
            if item.is_virtual:
                files = sorted({source.file_name for source in item.virtual_sources()})
                raise _foreign(path, item.name, f"assembled from {files[:3]}")
            if item.dtype.hasobject:
                raise _implausible(path, item.name, "is no array of numbers")
            yield 0 if item.shape is None else item.nbytes


def _refuse_repeated_names(path: Path, file: h5py.File) -> None:
    """Refuses lists of layers or weights, as Keras 2 stores them, that name one more than once."""
    read: set[int] = set()

    def check(name: str, item: h5py.Group | h5py.Dataset) -> None:
        # Keras cuts a long list into weight_names0, weight_names1 and so on.
        for attribute in (key for key in item.attrs if key.startswith(_LISTS)):
            for listed in np.ravel(item.attrs[attribute]):
                if not isinstance(listed, (str, bytes)) or listed not in item:
                    continue  # whoever loads it says so
                address = h5py.h5o.get_info(item[listed].id).addr
                if address in read:
                    raise _implausible(path, f"{name}/{attribute}", "names an array again")
                read.add(address)

    check("", file)
    file.visititems(check)


def _implausible(path: Path, name: str, what: str) -> InputError:
    return InputError(
        f"{path}: {name.replace('//', '/')} {what}, which is implausible", remedy=_REMEDY
    )


def _foreign(path: Path, name: str, location: str) -> InputError:
    return InputError(
        f"{path}: {name.replace('//', '/')} is {location[:200]}, and weights must be in the file "
        "itself",
        remedy=_REMEDY,
    )


@contextmanager
def checked_copy(path: Path, config: JsonObject) -> Iterator[Path]:
    """Yields a copy of a Keras `.h5` file with only a configuration and the weights.

    Args:
        path: The file, checked by `refuse_foreign_data`.
        config: The result of `checked_config`.

    Raises:
        InputError: If the weights refer to data in other files.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "model.h5"
        with h5py.File(path, "r") as old, h5py.File(copy, "w") as new:
            new.attrs["model_config"] = json.dumps(config)
            if "model_weights" in old:
                refuse_foreign_data(path, old)
                old.copy("model_weights", new)
        yield copy
