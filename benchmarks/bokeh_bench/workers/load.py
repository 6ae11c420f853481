"""Background load for measurements on a busy machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_SPIN = """
import sys, time
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    pass
"""


@contextmanager
def busy_processes(count: int, *, at_most_s: float = 600) -> Iterator[None]:
    """Runs `count` single-threaded busy loops, which end after at most `at_most_s` seconds."""
    spinning = [
        subprocess.Popen([sys.executable, "-c", _SPIN, str(at_most_s)]) for _ in range(count)
    ]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()
