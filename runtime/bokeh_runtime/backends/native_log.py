"""Keeps the log noise of native libraries from the terminal.

They write to file descriptors 1 and 2 from C++, past Python's `sys.stdout` and `sys.stderr`, so it
is the process's descriptors that are redirected. Redirections may be nested and may overlap in
threads: when the last one ends, in whatever order, the descriptors are what they were.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

# What LiteRT is known to write to standard output; all else there is the program's own.
_ON_STDOUT = re.compile(rb"(?:INFO|WARNING|ERROR): [^\n]*OpenCL[^\n]*")
# A log is read to learn what one model did: two threads that compile must not share it.
_compiling = threading.RLock()


class _Descriptor:
    """A file descriptor of the process, and the files that take what is written to it."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._lock = threading.Lock()
        self._targets: list[int] = []
        self._real: int | None = None

    def redirect(self, target: int) -> None:
        """Sends what is written to a file until `restore`; the latest redirection holds."""
        with self._lock:
            if not self._targets:
                self._real = _duplicate(self._number)
            self._targets.append(target)
            os.dup2(target, self._number)

    def restore(self, target: int) -> None:
        """Ends the redirection to a file; another one that has not ended yet holds on."""
        with self._lock:
            self._targets.remove(target)
            if self._targets:
                os.dup2(self._targets[-1], self._number)
            elif self._real is None:  # it was closed before
                os.close(self._number)
            else:
                os.dup2(self._real, self._number)
                os.close(self._real)
                self._real = None

    def real(self) -> int | None:
        """Returns a copy of the descriptor as it is without redirections; None if it is closed."""
        with self._lock:
            return _duplicate(self._number if self._real is None else self._real)


_STDOUT, _STDERR = _Descriptor(1), _Descriptor(2)


@contextmanager
def capture_native_log() -> Iterator[Callable[[], str]]:
    """Holds back what native libraries write; the yielded function returns it.

    Safe in threads: a second thread waits until the first has ended. What Python code or other
    threads write to standard output meanwhile is passed on when the block ends; what they write to
    standard error is held back with the rest.
    """
    with _compiling, _held(_STDOUT) as out, _held(_STDERR) as err:
        yield lambda: (out() + err()).decode(errors="replace")


@contextmanager
def hide_native_log(verbose: bool) -> Iterator[TextIO]:
    """Yields a stream to the real standard error while the libraries' own writes are held back.

    TensorFlow and LiteRT write to file descriptor 2 from C++, past Python's `sys.stderr`. If the
    block ends in an unforeseen error, what they wrote is shown after all. What they write while the
    process ends is dropped: they tell there of all that they take down.

    Args:
        verbose: Hold nothing back.
    """
    if verbose and sys.stderr is not None and not sys.stderr.closed:
        yield sys.stderr
        return
    _silence_at_exit()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    real = _STDERR.real()
    if real is None:  # it is closed
        real = os.open(os.devnull, os.O_WRONLY)
    with (
        os.fdopen(real, "w", encoding="utf-8", errors="replace") as terminal,
        _held(_STDERR) as log,
    ):
        try:
            yield terminal
        except Exception:
            _flush()
            terminal.flush()
            os.write(terminal.fileno(), log())
            raise


@contextmanager
def _held(descriptor: _Descriptor) -> Iterator[Callable[[], bytes]]:
    """Redirects a descriptor to a file; the yielded function returns what it holds."""
    _flush()
    with tempfile.TemporaryFile() as unnamed:
        # Where a standard descriptor is closed, the file may have got its number.
        file = _duplicate(unnamed.fileno())
    assert file is not None
    try:
        descriptor.redirect(file)
        try:
            yield lambda: _content(file)
        finally:
            _flush()
            descriptor.restore(file)
            if descriptor is _STDOUT:
                _pass_on(_content(file))
    finally:
        os.close(file)


def _content(file: int) -> bytes:
    """Returns all of a file. Descriptors share their position, so reading must not move it."""
    size = os.fstat(file).st_size
    if hasattr(os, "pread"):
        return os.pread(file, size, 0)
    position = os.lseek(file, 0, os.SEEK_CUR)  # Windows
    try:
        os.lseek(file, 0, os.SEEK_SET)
        return os.read(file, size)
    finally:
        os.lseek(file, position, os.SEEK_SET)


def _pass_on(held: bytes) -> None:
    """Writes what is not LiteRT's to standard output."""
    lines = [line for line in held.splitlines(keepends=True) if not _ON_STDOUT.match(line)]
    # It may be closed, or nobody reads it any more.
    with contextlib.suppress(OSError), open(1, "wb", closefd=False) as stdout:
        stdout.write(b"".join(lines))


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        # None under pythonw; closed by a program that has nothing to say.
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):
                stream.flush()


def _duplicate(number: int) -> int | None:
    """Returns a copy of a descriptor, above the three standard ones; None if it is closed."""
    low = []
    try:
        while (copy := os.dup(number)) <= 2:
            low.append(copy)
    except OSError:
        return None
    finally:
        for one in low:
            os.close(one)
    return copy


@functools.cache
def _silence_at_exit() -> None:
    atexit.register(_silence)


def _silence() -> None:
    _flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    if nowhere != 2:
        os.close(nowhere)
