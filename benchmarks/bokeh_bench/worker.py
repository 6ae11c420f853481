"""One measurement's process, seen from outside: it does what it is told, line by line.

A process of its own, so that neither memory nor caches nor a crash of a driver reach the next.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from bokeh_runtime.errors import HardwareError, InputError

FAULTS = {"InputError": InputError, "HardwareError": HardwareError}


class Worker:
    """A process that holds one model; see `bokeh_bench.one_measurement` for what it is told.

        with Worker({"model": "a.tflite", "delegate": "cpu"}) as worker:
            opened = worker.ask("open")

    Args:
        request: What to measure, as JSON data.
    """

    def __init__(self, request: Mapping[str, Any]) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bokeh_bench.one_measurement", json.dumps(request)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def ask(self, do: str, **how: Any) -> dict[str, Any]:
        """Has something done, and returns what came of it.

        Raises:
            InputError: If the model cannot be run.
            HardwareError: If the hardware is not here, or its driver ended the process.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **how}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None
        line = self._process.stdout.readline()
        if not line:
            raise self._ended()
        answer: dict[str, Any] = json.loads(line)
        if "fault" in answer:
            raise FAULTS[answer["fault"]](answer["message"])
        return answer

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._log.close()

    def _ended(self) -> HardwareError:
        code = self._process.wait()
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        last = f" ({lines[-1]})" if lines else ""
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return HardwareError(
            f"the process that ran the model ended with {how}{last}; try another --delegate"
        )
