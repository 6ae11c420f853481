"""Keeps the log noise of native libraries from the terminal."""

from __future__ import annotations

import atexit
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO


@contextmanager
def held_back() -> Iterator[Callable[[], str]]:
    """Holds back what native libraries write; the yielded function returns it.

    The file descriptors are the process's own: what other threads write to standard output and
    error meanwhile is held back too.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    real = {number: os.dup(number) for number in (1, 2)}
    with tempfile.TemporaryFile() as held:

        def read() -> str:
            held.seek(0)
            return held.read().decode(errors="replace")

        for number in real:
            os.dup2(held.fileno(), number)
        try:
            yield read
        finally:
            for number, saved in real.items():
                os.dup2(saved, number)
                os.close(saved)


@contextmanager
def quiet(verbose: bool) -> Iterator[TextIO]:
    """Yields a stream to the real standard error while the libraries' own writes are held back.

    TensorFlow and LiteRT write to file descriptor 2 from C++, past Python's `sys.stderr`. If the
    block ends in an unforeseen error, what they wrote is shown after all. What they write while the
    process ends is dropped: they tell there of all that they take down.

    Args:
        verbose: Hold nothing back.
    """
    if verbose:
        yield sys.stderr
        return
    atexit.register(_silence)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    real = os.dup(2)
    with (
        tempfile.TemporaryFile() as held,
        os.fdopen(os.dup(real), "w", encoding="utf-8", errors="replace") as terminal,
    ):
        os.dup2(held.fileno(), 2)
        try:
            yield terminal
        except Exception:
            sys.stderr.flush()
            held.seek(0)
            os.write(real, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(real, 2)
            os.close(real)


def _silence() -> None:
    sys.stderr.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
