"""Keeps a Ctrl-C from being lost in a library."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

INTERRUPTED = 130
"""Exit code that a shell reports for a program that Ctrl-C ended."""


@contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """Remembers a Ctrl-C that a library swallows.

    Python raises KeyboardInterrupt wherever the program happens to be. Libraries lose it: in a bare
    `except` around an optional import, in a module's C code, in a finalizer. TensorFlow's import
    has all of these. So it is raised at once, as always, and remembered: the yielded function
    raises it again, and an error that leaves the block after it counts as its consequence.

    Outside the main thread, where Python delivers no signals, and where SIGINT is ignored, as for
    what a shell starts in the background, the block runs as it is.

    Yields:
        Call it between the steps of the work, and before anything that cannot be undone.

    Raises:
        KeyboardInterrupt: If Ctrl-C was pressed within the block.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is signal.SIG_IGN:
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
        signal.signal(signal.SIGINT, before)


@contextmanager
def defer_interrupt() -> Iterator[None]:
    """Holds a Ctrl-C back until the end of the block, which must be short.

    For what would be lost half-made, such as a child process that nobody knows of yet.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    pressed = []
    signal.signal(signal.SIGINT, lambda *_: pressed.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if pressed:
            signal.raise_signal(signal.SIGINT)
