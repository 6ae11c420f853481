"""Runs the project's commands as a user would."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

Read = Callable[[str | None], str]


def command(
    name: str, *arguments: object, cwd: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs a command of the environment in a process of its own."""
    return subprocess.run(
        [Path(sys.executable).parent / name, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "120", **environment},
    )


@contextlib.contextmanager
def on_a_terminal(
    name: str, *arguments: object, cwd: Path
) -> Iterator[tuple[subprocess.Popen[bytes], Read]]:
    """Starts a command on a terminal of its own.

    Yields the process, and a function that reads until something is shown, or with None to the end.
    """
    ours, its = pty.openpty()
    process = subprocess.Popen(
        [Path(sys.executable).parent / name, *map(str, arguments)],
        cwd=cwd,
        stdout=its,
        stderr=its,
        env={**os.environ, "COLUMNS": "120", "TERM": "xterm"},
    )
    os.close(its)

    def read(until: str | None) -> str:
        shown = ""
        with contextlib.suppress(OSError):  # how Linux says that the other end has closed
            while until is None or until not in shown:
                more = os.read(ours, 1000)
                shown += more.decode(errors="replace")
        assert until is None or until in shown, shown
        return shown

    try:
        yield process, read
    finally:
        process.kill()
        process.wait()
        os.close(ours)
