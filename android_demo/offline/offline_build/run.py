"""Runs the tools, and explains what they say when they fail."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from offline_build.errors import BuildError

_MOST_LINES = 60


def run(what: str, command: Sequence[object], *, folder: Path | None = None) -> str:
    """Runs a command and returns what it prints.

    Args:
        what: For the error: "compiling core".
        command: The program and its arguments, each as its text.
        folder: Where to run it.

    Raises:
        BuildError: If it is not there or fails; with the last lines of what it said.
    """
    try:
        done = subprocess.run(
            [str(word) for word in command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            cwd=folder,
        )
    except FileNotFoundError as error:
        raise BuildError(f"{what}: {command[0]} is not installed") from error
    if done.returncode:
        last = "\n".join(done.stdout.strip().splitlines()[-_MOST_LINES:])
        raise BuildError(f"{what} failed:\n{last}")
    return done.stdout
