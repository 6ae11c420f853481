"""Starts and controls the process of one measurement.

Each measurement has a process of its own, so that neither its memory, its caches nor a crash of a
driver affects the next one.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from bokeh_bench import child_process
from bokeh_runtime.errors import HardwareError, InputError

_ERRORS = {"InputError": InputError, "HardwareError": HardwareError}
PROGRAM = (sys.executable, "-m", "bokeh_bench.workers.latency")
_LOOK_UP_SECONDS = 0.5


class Worker:
    """A process that holds one model; `bokeh_bench.workers.latency` lists its tasks.

        with Worker({"model": "a.tflite", "delegate": "cpu"}) as worker:
            opened = worker.call("open")

    Args:
        request: What to measure, as JSON data.
        seconds: Time limit for opening the model and for each inference. The process reports once
            per second that runs are completing; if it sends nothing for this long, it hangs.
        program: Command of the worker program.
    """

    def __init__(
        self,
        request: Mapping[str, Any],
        seconds: float = child_process.TIMEOUT_SECONDS,
        program: Sequence[str] = PROGRAM,
    ) -> None:
        self._seconds = seconds
        self._received = b""
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        self._process = subprocess.Popen(
            [*program, json.dumps(request)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,
            creationflags=child_process.NEW_GROUP,
        )
        self._pieces = _pieces(self._process)

    def call(self, task: str, **arguments: Any) -> dict[str, Any]:
        """Has the process do a task, and returns its answer.

        Raises:
            InputError: If the model cannot be run.
            HardwareError: If the hardware is not available, its driver ended the process, or the
                process sends nothing within the time limit.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"task": task, **arguments}).encode() + b"\n")
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):  # ValueError: it was killed before
            raise self._ended() from None
        answer: dict[str, Any] = {"alive": True}
        while "alive" in answer:
            answer = json.loads(self._read_line(task))
        if "error" in answer:
            raise _ERRORS[answer["error"]](answer["message"])
        return answer

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        child_process.kill(self._process)
        self._log.close()

    def _read_line(self, task: str) -> bytes:
        """Returns the next line that the process sends."""
        deadline = time.monotonic() + self._seconds
        while b"\n" not in self._received:
            more = self._next_piece(deadline)
            if more is None:
                child_process.kill(self._process)
                raise HardwareError(
                    f"no answer for {self._seconds:g} s during the task {task}: the driver or the "
                    "interpreter hangs; try another --delegate, or a longer --timeout"
                )
            if not more:
                raise self._ended()
            self._received += more
        line, _, self._received = self._received.partition(b"\n")
        return line

    def _next_piece(self, deadline: float) -> bytes | None:
        """Returns what was written next, b"" at the end; None if that is nothing until then."""
        while True:
            left = deadline - time.monotonic()
            with contextlib.suppress(queue.Empty):
                # In pieces, since Windows does not let Ctrl-C end a longer wait.
                return self._pieces.get(timeout=min(max(0.0, left), _LOOK_UP_SECONDS))
            if left <= 0:
                return None

    def _ended(self) -> HardwareError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(self._seconds)
        code = self._process.poll()
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        last = f" ({lines[-1]})" if lines else ""
        how = "no exit code" if code is None else f"exit code {code}"
        if code is not None and code < 0:
            how = f"signal {-code}"
        return HardwareError(
            f"the process that ran the model ended with {how}{last}; try another --delegate"
        )


def _pieces(process: subprocess.Popen[bytes]) -> queue.SimpleQueue[bytes]:
    """Returns a queue of what a process writes, with b"" at its end.

    A thread reads it, because Windows cannot wait for a pipe with a time limit.
    """
    assert process.stdout is not None
    # Of its own, since the other is closed when the process is killed.
    out = os.dup(process.stdout.fileno())
    pieces: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def read() -> None:
        more = b"the first"
        while more:
            try:
                more = os.read(out, 1 << 16)
            except OSError:
                more = b""
            pieces.put(more)
        os.close(out)

    threading.Thread(target=read, name="reader of a worker", daemon=True).start()
    return pieces
