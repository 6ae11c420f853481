"""Keeps the log noise of native libraries from the terminal."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


@contextmanager
def quiet(verbose: bool) -> Iterator[TextIO]:
    """Yields a stream to the real standard error while the libraries' own writes are held back.

    TensorFlow and LiteRT write to file descriptor 2 from C++, past Python's `sys.stderr`. If the
    block ends in an unforeseen error, what they wrote is shown after all.

    Args:
        verbose: Hold nothing back.
    """
    if verbose:
        yield sys.stderr
        return
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
