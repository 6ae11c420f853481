"""Runs the tools, and explains what they say when they fail."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bokeh_bench import child_process
from offline_build.errors import BuildError

SECONDS = 3600.0
"""How long a tool may take; some download."""
_MOST_LINES = 60


def run(
    what: str,
    command: Sequence[object],
    *,
    folder: Path | None = None,
    seconds: float = SECONDS,
) -> str:
    """Runs a command and returns what it prints.

    Args:
        what: For the error: "compiling core".
        command: The program and its arguments, each as its text.
        folder: Where to run it.
        seconds: After these it is killed, with all that it started.

    Raises:
        BuildError: If it is not there, fails or does not end; with the last lines of what it said.
    """
    try:
        done = child_process.run(command, seconds=seconds, folder=folder, merge_stderr=True)
    except child_process.TimeLimitError as error:
        raise BuildError(f"{what} {error}") from error
    except FileNotFoundError as error:
        raise BuildError(f"{what}: {command[0]} is not installed") from error
    if done.returncode:
        last = "\n".join(done.stdout.strip().splitlines()[-_MOST_LINES:])
        raise BuildError(f"{what} failed:\n{last}")
    return done.stdout
