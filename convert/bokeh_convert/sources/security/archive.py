"""Checks and unpacks `.keras` archives."""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import h5py

from bokeh_convert.sources.model_types import Json, JsonObject
from bokeh_convert.sources.options import SourceOptions
from bokeh_convert.sources.security.hdf5 import MAX_BYTES, refuse_foreign_data
from bokeh_runtime.errors import InputError

CONFIG = "config.json"
WEIGHTS = "model.weights.h5"
_MAX_ENTRY_BYTES = {CONFIG: 64 << 20, WEIGHTS: MAX_BYTES}
_MAX_COMPRESSION_RATIO = 100
_ALWAYS_ALLOWED_BYTES = 16 << 20


def read_config(path: Path, options: SourceOptions) -> Json:
    """Returns the parsed configuration of a `.keras` file.

    Raises:
        InputError: If the file is damaged or is not a Keras model. Unless it is trusted, also if it
            has duplicate entries, or an entry that decompresses to an implausible size.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if not options.trust_source:
                _refuse_odd_entries(path, archive)
            return cast(Json, json.loads(archive.read(CONFIG)))
    except (zipfile.BadZipFile, EOFError) as error:
        raise InputError(f"{path}: the archive is truncated or damaged; copy it again") from error
    except (KeyError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: the archive has no Keras model; give a .keras file") from error
    except RecursionError as error:
        raise InputError(
            f"{path}: its configuration is nested too deeply; "
            "save the model again with model.save()"
        ) from error
    except (NotImplementedError, RuntimeError) as error:  # unsupported compression or encryption
        raise InputError(
            f"{path}: the archive cannot be unpacked ({error}); save it again"
        ) from error


@contextmanager
def unpacked(path: Path, config: JsonObject) -> Iterator[Path]:
    """Yields a folder that Keras can load, with only a configuration and the archive's weights.

    Args:
        path: The `.keras` file.
        config: The result of `checked_config`.

    Raises:
        InputError: If the weights are missing, or refer to data in other files.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / CONFIG).write_text(json.dumps(config), encoding="utf-8")
        with zipfile.ZipFile(path) as archive:
            if WEIGHTS not in archive.namelist():
                raise InputError(f"{path}: has no {WEIGHTS}; save the model with model.save()")
            with archive.open(WEIGHTS) as packed, (folder / WEIGHTS).open("wb") as file:
                shutil.copyfileobj(packed, file)
        with h5py.File(folder / WEIGHTS, "r") as weights:
            refuse_foreign_data(path, weights)
        yield folder


def _refuse_odd_entries(path: Path, archive: zipfile.ZipFile) -> None:
    counts = Counter(info.filename for info in archive.infolist())
    for name, count in counts.items():
        if count > 1:
            raise InputError(
                f"{path}: has {count} entries {name}, and programs differ in which they read; "
                "save the model again with model.save()"
            )
    for info in archive.infolist():
        limit = max(_ALWAYS_ALLOWED_BYTES, _MAX_COMPRESSION_RATIO * info.compress_size)
        # Other entries are not unpacked.
        if info.filename in _MAX_ENTRY_BYTES and info.file_size > min(
            limit, _MAX_ENTRY_BYTES[info.filename]
        ):
            raise InputError(
                f"{path}: {info.filename} decompresses from {info.compress_size} to "
                f"{info.file_size} bytes, which is implausible; "
                "save the model again with model.save()"
            )
