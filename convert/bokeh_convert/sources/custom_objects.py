"""Imports the user's own layer classes and functions."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from bokeh_convert.process_state import default_environment, search_path
from bokeh_runtime.errors import Argument, InputError


def load_custom_objects(given: Sequence[str], *, keras_2: bool = False) -> dict[str, object]:
    """Imports classes and functions, the current folder searched first.

    What their modules import later, when they are called, is not searched for there.

    Args:
        given: Each as "module:NAME" or "path/to/file.py:NAME".
        keras_2: Whether `tf.keras` and `tensorflow.keras` are Keras 2 to the modules. They are what
            the process has otherwise.

    Returns:
        The classes and functions by name.

    Raises:
        InputError: If one cannot be imported.
    """
    found: dict[str, object] = {}
    for one in given:
        module, colon, name = one.rpartition(":")
        option = Argument("custom_objects", [one], one)
        if not colon or not module or not name:
            raise InputError(option, ": the format is module:NAME or file.py:NAME")
        try:
            with search_path(os.curdir), _tensorflow_keras(keras_2):
                imported = _import(module)
        except (Exception, SystemExit) as error:  # the user's module may raise anything
            raise InputError(
                option,
                f": importing {module} failed ({error}); run from its folder, give the file as "
                "path/to/file.py:NAME, or set PYTHONPATH",
            ) from error
        if not hasattr(imported, name):
            raise InputError(option, f": {module} has no {name}; check the name")
        found[name] = getattr(imported, name)
    return found


def _import(module: str) -> ModuleType:
    path = Path(module)
    if path.suffix != ".py":
        return importlib.import_module(module)
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {module}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    imported = importlib.util.module_from_spec(spec)
    # By its folder too, for what stands beside it.
    with search_path(str(path.parent)):
        spec.loader.exec_module(imported)
    return imported


@contextmanager
def _tensorflow_keras(keras_2: bool) -> Iterator[None]:
    """Makes `tf.keras` and `tensorflow.keras` Keras 2 for a block.

    TensorFlow decides at its import which Keras its submodule `keras` is, and at its first use
    which Keras its attribute `keras` is.
    """
    if not keras_2:
        yield
        return
    import tensorflow as tf
    import tf_keras
    from tf_keras.api._v2 import keras as legacy

    def loaded() -> list[str]:
        return [
            name
            for name in sys.modules
            if name == "tensorflow.keras" or name.startswith("tensorflow.keras.")
        ]

    variables = default_environment(TF_USE_LEGACY_KERAS="1")
    folder = str(Path(tf_keras.__file__).parent / "api/_v2")
    other = {name: sys.modules.pop(name) for name in loaded()}
    attribute = tf.__dict__.get("keras")
    tf.__path__.insert(0, folder)
    tf.keras = legacy
    try:
        with variables:
            yield
    finally:
        tf.keras = attribute
        tf.__path__.remove(folder)
        for name in loaded():
            del sys.modules[name]
        sys.modules.update(other)
