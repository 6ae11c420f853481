"""Handles Ctrl-C reliably while native libraries run."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

INTERRUPTED = 130
"""Exit code that a shell reports for a program that Ctrl-C ended."""


@contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """Remembers a Ctrl-C, so that it takes effect even if a library swallows it.

    Python raises KeyboardInterrupt wherever the program happens to be. Libraries swallow it: in a
    bare `except` around an optional import, in C code, or in a finalizer. TensorFlow's import does
    all three. Here it is raised as usual and also remembered. The yielded function raises it again,
    and if the block then fails with any error, KeyboardInterrupt replaces that error.

    Nothing changes outside the main thread, where Python delivers no signals, and where SIGINT is
    ignored, as in background jobs of a shell.

    Yields:
        A function that raises KeyboardInterrupt if Ctrl-C was pressed. Call it between the steps of
        a task, and before anything that cannot be undone.

    Raises:
        KeyboardInterrupt: If Ctrl-C was pressed within the block.
    """
    previous = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or previous is signal.SIG_IGN:
        yield lambda: None
        return
    pressed = False

    def remember(*_: object) -> None:
        nonlocal pressed
        pressed = True
        raise KeyboardInterrupt

    def check() -> None:
        if pressed:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, remember)
    try:
        yield check
    except Exception as error:
        if pressed:
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, previous)


@contextmanager
def defer_interrupt() -> Iterator[None]:
    """Delays a Ctrl-C until the end of the block, which must be short.

    For steps that must not be interrupted, such as storing the handle of a new child process.
    """
    previous = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(previous):
        yield
        return
    pressed = []
    signal.signal(signal.SIGINT, lambda *_: pressed.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
        if pressed:
            signal.raise_signal(signal.SIGINT)
