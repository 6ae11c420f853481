"""Changes to the process that last for a block alone: a library call leaves nothing behind.

What belongs to the whole process (environment, search path, random state) is the block's for every
thread: a thread of the caller's own sees it too while the block runs. Blocks that overlap in
several threads wait for each other where the second would restore what the first had changed.
"""

from __future__ import annotations

import logging
import os
import random
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from bokeh_runtime.errors import InputError

_ONE_AT_A_TIME = threading.RLock()
_WARNINGS = threading.RLock()
_ABSL = logging.getLogger("absl")


@contextmanager
def default_environment(**variables: str) -> Iterator[None]:
    """Sets those environment variables that are not set."""
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
    """Lets modules be imported from a folder, which is searched first.

    What such a module imports later, when it is called, is not found there.
    """
    with _ONE_AT_A_TIME:
        sys.path.insert(0, folder)
        try:
            yield
        finally:
            sys.path.remove(folder)


@contextmanager
def random_state(seed: int | None = None) -> Iterator[None]:
    """Puts the state of Python's `random` back, from which Keras draws its layers' seeds.

    Args:
        seed: The state within the block; None leaves it as it is.
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
    """Drops Python's warnings, in every thread. Two such blocks run one after the other."""
    with _WARNINGS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def without_absl_messages() -> Iterator[None]:
    """Drops what this thread logs through absl, which TensorFlow and the quantizer use.

    absl gives the root logger a handler if it has none; that too is kept from it.
    """
    thread = threading.get_ident()

    def of_others(record: logging.LogRecord) -> bool:
        return record.thread != thread

    _StandIn.enter()
    _ABSL.addFilter(of_others)
    try:
        yield
    finally:
        _ABSL.removeFilter(of_others)
        _StandIn.leave()


def require_tensorflow_backend() -> None:
    """Imports Keras on TensorFlow, through whose graph models are lowered.

    Raises:
        InputError: If another backend was chosen, or is in use in this process already.
    """
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if backend == "tensorflow":
        with default_environment(KERAS_BACKEND=backend):
            import keras
        backend = keras.backend.backend()
    if backend != "tensorflow":
        raise InputError(
            f"Keras runs on {backend}, and converting needs TensorFlow; "
            "set KERAS_BACKEND=tensorflow before Keras is imported"
        )


class _StandIn(logging.Handler):
    """What the root logger holds meanwhile. It does what logging does without any handler."""

    _lock_of_users = threading.Lock()
    _users = 0
    _handler: _StandIn | None = None

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
