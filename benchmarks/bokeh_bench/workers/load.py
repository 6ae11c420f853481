"""Other processes that keep the machine busy while something is measured."""

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
    """Runs `count` processes of one busy thread each, which end by themselves in any case."""
    spinning = [
        subprocess.Popen([sys.executable, "-c", _SPIN, str(at_most_s)]) for _ in range(count)
    ]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()
