"""Child processes with a time limit, after which they and all their children are killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from bokeh_runtime.interrupt import defer_interrupt

TIMEOUT_SECONDS = 600.0
"""Default time limit of a step, such as opening a model or one inference."""
_DYING_SECONDS = 5.0
"""How long to wait for a killed process. One that waits for a driver in the kernel cannot end."""


NEW_GROUP = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
"""What `start_new_session` is on Windows."""


class TimeLimitError(Exception):
    """A child process did not end within its time limit. The message gives the limit."""


def run(
    command: Sequence[object],
    *,
    seconds: float,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    merge_stderr: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Runs a command until it ends, and returns its output. Its standard input is empty.

    Args:
        command: The program and its arguments; each is converted to text.
        seconds: Time limit, after which it is killed with all its children.
        folder: Working directory; None is the current one.
        environment: Environment variables; None inherits those of this process.
        merge_stderr: Whether standard error goes into standard output, in the order of writing.

    Raises:
        TimeLimitError: If it does not end within the time limit.
        OSError: If the program cannot be started.
    """
    process: subprocess.Popen[str] | None = None
    try:
        with defer_interrupt():
            process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if merge_stderr else subprocess.PIPE,
                text=True,
                errors="replace",
                cwd=folder,
                env=environment,
                start_new_session=True,
                creationflags=NEW_GROUP,
            )
        out, err = process.communicate(timeout=seconds)
    except BaseException as error:
        if process is not None:
            kill(process)
        if isinstance(error, subprocess.TimeoutExpired):
            raise TimeLimitError(f"did not end within {seconds:g} s") from None
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def kill(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    """Ends a process that was started with `start_new_session`, and all that it started.

    On Windows a process whose own parent has ended already is not found.
    """
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        _kill_tree(process.pid)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_DYING_SECONDS)
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):  # unread or unwritten data is not needed
                stream.close()


def _kill_tree(pid: int) -> None:
    import psutil  # a dependency on Windows alone

    try:
        first = psutil.Process(pid)
        started = [first, *first.children(recursive=True)]
    except psutil.Error:  # it has ended
        return
    for one in started:
        with contextlib.suppress(psutil.Error):
            one.kill()
