"""Child processes that may hang: each has a time limit, and nothing of it outlives that."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from bokeh_runtime.interrupt import defer_interrupt

SECONDS = 600.0
"""How long a step may take unless another limit is asked: opening a model, or one inference."""
_DYING_SECONDS = 5.0
"""A process that waits in the kernel, for a driver, does not even end when it is killed."""


NEW_GROUP = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
"""What `start_new_session` is on Windows."""


class TimeLimitError(Exception):
    """A child process did not end in time; the message says after how long."""


def run(
    command: Sequence[object],
    *,
    seconds: float,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    merge_stderr: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end and returns what it printed; it reads nothing.

    Args:
        command: The program and its arguments, each as its text.
        seconds: After these it is killed, with whatever it started.
        folder: Where to run it; None is here.
        environment: Its variables; None are this process's.
        merge_stderr: Put standard error into standard output, in the order of writing.

    Raises:
        TimeLimitError: If it does not end in time.
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
            with contextlib.suppress(OSError):  # what was never read or written is of no use
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
