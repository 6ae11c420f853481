"""Captures and hides the log messages of native libraries.

TensorFlow and LiteRT write to file descriptors 1 and 2 from C++, bypassing Python's `sys.stdout`
and `sys.stderr`, so the descriptors of the process are redirected. Redirections may be nested and
may overlap between threads. When the last one has ended, the descriptors are restored.
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
from typing import IO, TextIO

# Log lines that LiteRT writes to standard output. All others are output of the program.
_LITERT_STDOUT_LINE = re.compile(rb"(?:INFO|WARNING|ERROR): [^\n]*OpenCL[^\n]*")
# A captured log describes one model, so two threads must not capture at the same time.
_capture_lock = threading.RLock()


class _RedirectableDescriptor:
    """A file descriptor of the process, and the files that it is redirected to."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._lock = threading.Lock()
        self._targets: list[int] = []
        self._real: int | None = None

    def redirect(self, target: int) -> None:
        """Redirects the descriptor to a file until `restore`. The latest redirection applies."""
        with self._lock:
            if not self._targets:
                self._real = _duplicate_descriptor(self._number)
            self._targets.append(target)
            os.dup2(target, self._number)

    def restore(self, target: int) -> None:
        """Ends the redirection to a file. Other redirections that have not ended still apply."""
        with self._lock:
            self._targets.remove(target)
            if self._targets:
                os.dup2(self._targets[-1], self._number)
            elif self._real is None:  # the descriptor was closed before the redirection
                os.close(self._number)
            else:
                os.dup2(self._real, self._number)
                os.close(self._real)
                self._real = None

    def real(self) -> int | None:
        """Returns a copy of the descriptor without redirections; None if it is closed."""
        with self._lock:
            return _duplicate_descriptor(self._number if self._real is None else self._real)


_STDOUT, _STDERR = _RedirectableDescriptor(1), _RedirectableDescriptor(2)


@contextmanager
def capture_native_log() -> Iterator[Callable[[], str]]:
    """Captures what native libraries write to standard output and standard error.

    Thread-safe: a second thread waits until the first has ended. What Python code or other threads
    write to standard output meanwhile is forwarded when the block ends. What they write to standard
    error is captured, too.

    Yields:
        A function that returns what has been captured so far.
    """
    with _capture_lock, _redirected_to_file(_STDOUT) as out, _redirected_to_file(_STDERR) as err:
        yield lambda: (out() + err()).decode(errors="replace")


@contextmanager
def hide_native_log(verbose: bool) -> Iterator[TextIO]:
    """Hides what native libraries write to standard error.

    If the block ends with an error, the hidden messages are shown. Messages that are written while
    the process exits are dropped, since the libraries log everything that they release.

    Args:
        verbose: Whether to hide nothing.

    Yields:
        A stream to the terminal's standard error.
    """
    if verbose and sys.stderr is not None and not sys.stderr.closed:
        yield sys.stderr
        return
    _hide_stderr_at_exit()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    real = _STDERR.real()
    if real is None:  # it is closed
        real = os.open(os.devnull, os.O_WRONLY)
    with (
        os.fdopen(real, "w", encoding="utf-8", errors="replace") as terminal,
        _redirected_to_file(_STDERR) as log,
    ):
        try:
            yield terminal
        except Exception:
            _flush()
            terminal.flush()
            os.write(terminal.fileno(), log())
            raise


@contextmanager
def _redirected_to_file(descriptor: _RedirectableDescriptor) -> Iterator[Callable[[], bytes]]:
    """Redirects a descriptor to a temporary file. Yields a function that returns its content."""
    _flush()
    with _unnamed_file() as unnamed:
        # If a standard descriptor is closed, the file may have got its number.
        file = _duplicate_descriptor(unnamed.fileno())
    assert file is not None
    try:
        descriptor.redirect(file)
        try:
            yield lambda: _content(file)
        finally:
            _flush()
            descriptor.restore(file)
            if descriptor is _STDOUT:
                _forward_to_stdout(_content(file))
    finally:
        os.close(file)


def _unnamed_file() -> IO[bytes]:
    try:
        return tempfile.TemporaryFile()
    except OSError:  # no folder for temporary files can be written, as in a read-only container
        if not hasattr(os, "memfd_create"):
            raise
        return os.fdopen(os.memfd_create("log"), "w+b")


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


def _forward_to_stdout(captured: bytes) -> None:
    """Writes all lines but LiteRT's to standard output."""
    lines = [
        line for line in captured.splitlines(keepends=True) if not _LITERT_STDOUT_LINE.match(line)
    ]
    # Standard output may be closed, or its pipe broken.
    with contextlib.suppress(OSError), open(1, "wb", closefd=False) as stdout:
        stdout.write(b"".join(lines))


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        # None under pythonw. Some programs close it.
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):
                stream.flush()


def _duplicate_descriptor(number: int) -> int | None:
    """Returns a copy of a descriptor with a number above 2; None if the descriptor is closed."""
    too_low = []
    try:
        while (copy := os.dup(number)) <= 2:
            too_low.append(copy)
    except OSError:
        return None
    finally:
        for one in too_low:
            os.close(one)
    return copy


@functools.cache
def _hide_stderr_at_exit() -> None:
    atexit.register(_redirect_stderr_to_null)


def _redirect_stderr_to_null() -> None:
    _flush()
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    if null != 2:
        os.close(null)
