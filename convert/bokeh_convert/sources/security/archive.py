"""Holds `.keras` archives to what Keras writes, and unpacks them."""

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
from bokeh_convert.sources.security.hdf5 import MOST_BYTES, refuse_foreign_data
from bokeh_runtime.errors import InputError

CONFIG = "config.json"
WEIGHTS = "model.weights.h5"
_MOST_BYTES = {CONFIG: 64 << 20, WEIGHTS: MOST_BYTES}
_MOST_EXPANSION = 100
_ALWAYS_BYTES = 16 << 20


def read_config(path: Path, options: SourceOptions) -> Json:
    """Returns the parsed configuration of a `.keras` file.

    Raises:
        InputError: If the file is damaged, is no Keras model, or, unless it is trusted, holds an
            entry twice or one that unpacks to far more than the file holds.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if not options.trust_source:
                _refuse_odd_entries(path, archive)
            return cast(Json, json.loads(archive.read(CONFIG)))
    except (zipfile.BadZipFile, EOFError) as error:
        raise InputError(f"{path}: archive cut short or damaged; copy it again") from error
    except (KeyError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: an archive without a Keras model; give a .keras file") from error
    except RecursionError as error:
        raise InputError(
            f"{path}: its configuration is nested too deep for a model; "
            "save the model again with model.save()"
        ) from error
    except (NotImplementedError, RuntimeError) as error:  # other compression, or encrypted
        raise InputError(f"{path}: archive cannot be unpacked ({error}); save it again") from error


@contextmanager
def unpacked(path: Path, config: JsonObject) -> Iterator[Path]:
    """Yields a folder with a configuration and the weights of a `.keras` file, as Keras reads it.

    Nothing else of the archive is in it.

    Args:
        path: The file.
        config: What `checked_config` returned.

    Raises:
        InputError: If the weights take data from elsewhere.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / CONFIG).write_text(json.dumps(config), encoding="utf-8")
        with zipfile.ZipFile(path) as archive:
            if WEIGHTS not in archive.namelist():
                raise InputError(f"{path}: holds no {WEIGHTS}; save the model with model.save()")
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
                f"{path}: holds {count} entries {name}, and programs differ in which they read; "
                "save the model again with model.save()"
            )
    for info in archive.infolist():
        limit = max(_ALWAYS_BYTES, _MOST_EXPANSION * info.compress_size)
        # Others are not unpacked.
        if info.filename in _MOST_BYTES and info.file_size > min(limit, _MOST_BYTES[info.filename]):
            raise InputError(
                f"{path}: {info.filename} unpacks from {info.compress_size} to {info.file_size} "
                "bytes, which no network here needs; save the model again with model.save()"
            )
