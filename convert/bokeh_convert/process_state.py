"""Context managers that change the state of the process temporarily.

Environment, search path, random state and warnings belong to the whole process, so other threads
also see the change while the block runs. Blocks in several threads run one after the other if one
could otherwise restore a state that another had changed.
"""

from __future__ import annotations

import importlib
import logging
import os
import random
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bokeh_runtime.errors import InputError

_ONE_AT_A_TIME = threading.RLock()
_WARNINGS = threading.RLock()
_ABSL = logging.getLogger("absl")


@contextmanager
def default_environment(**variables: str) -> Iterator[None]:
    """Sets the environment variables that are not yet set."""
    with _ONE_AT_A_TIME:
        missing = {name: value for name, value in variables.items() if name not in os.environ}
        os.environ.update(missing)
        try:
            yield
        finally:
            for name in missing:
                os.environ.pop(name, None)


@contextmanager
def search_path(folder: str) -> Iterator[None]:
    """Searches a folder first when modules are imported.

    Imports that these modules do later, outside of the block, do not find the folder.
    """
    # Python remembers the files of a folder under the text of its path: a relative one goes on to
    # mean what it meant at its first use, and a file that is new may not be seen.
    folder = str(Path(folder).absolute())
    importlib.invalidate_caches()
    with _ONE_AT_A_TIME:
        sys.path.insert(0, folder)
        try:
            yield
        finally:
            sys.path.remove(folder)


@contextmanager
def random_state(seed: int | None = None) -> Iterator[None]:
    """Restores the state of Python's `random` after the block. Keras seeds its layers from it.

    Args:
        seed: Seed for the block; None to keep the current state.
    """
    with _ONE_AT_A_TIME:
        before = random.getstate()
        if seed is not None:
            random.seed(seed)
        try:
            yield
        finally:
            random.setstate(before)


@contextmanager
def without_warnings() -> Iterator[None]:
    """Ignores Python's warnings, in all threads. Only one such block runs at a time."""
    with _WARNINGS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def without_absl_messages() -> Iterator[None]:
    """Suppresses the absl log of this thread, which TensorFlow and litert-quantizer write to.

    absl adds a handler to a root logger without handlers; this is prevented as well.
    """
    thread = threading.get_ident()

    def from_other_threads(record: logging.LogRecord) -> bool:
        return record.thread != thread

    _PlaceholderHandler.enter()
    _ABSL.addFilter(from_other_threads)
    try:
        yield
    finally:
        _ABSL.removeFilter(from_other_threads)
        _PlaceholderHandler.leave()


def require_tensorflow_backend() -> None:
    """Imports Keras with the TensorFlow backend, which the conversion to TFLite needs.

    Raises:
        InputError: If another backend is selected, or already in use in this process.
    """
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if backend == "tensorflow":
        with default_environment(KERAS_BACKEND=backend):
            import keras
        backend = keras.backend.backend()
    if backend != "tensorflow":
        raise InputError(
            f"the Keras backend is {backend}, and the conversion needs tensorflow; "
            "set KERAS_BACKEND=tensorflow before Keras is imported"
        )


class _PlaceholderHandler(logging.Handler):
    """A root handler that behaves like logging without any handler."""

    _lock_of_users = threading.Lock()
    _users = 0
    _handler: _PlaceholderHandler | None = None

    @classmethod
    def enter(cls) -> None:
        with cls._lock_of_users:
            cls._users += 1
            if cls._users == 1 and not logging.root.handlers:
                cls._handler = cls()
                logging.root.addHandler(cls._handler)

    @classmethod
    def leave(cls) -> None:
        with cls._lock_of_users:
            cls._users -= 1
            if cls._users == 0 and cls._handler is not None:
                logging.root.removeHandler(cls._handler)
                cls._handler = None

    def emit(self, record: logging.LogRecord) -> None:
        if logging.lastResort is not None and record.levelno >= logging.lastResort.level:
            logging.lastResort.handle(record)
