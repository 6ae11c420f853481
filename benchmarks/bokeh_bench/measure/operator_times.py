"""How long each kind of operator takes."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from bokeh_bench import child_process

_BEGIN, _END = "Summary by node type", "Delegate Statistics"
_ROW = re.compile(r"\s*(?P<kind>\S.*?)\s+(?P<count>\d+)\s+(?P<ms>[\d.]+)\s+(?P<percent>[\d.]+)%\s")


@dataclass(frozen=True)
class OperatorTime:
    """One kind of operator: XNNPACK's kernel, or the interpreter's own operator.

    Attributes:
        kind: As LiteRT names it, such as "Convolution (NHWC, F32) IGEMM".
        count: How many of them the model has.
        ms: Of all of them in one inference; on average.
        share: Of the sum over all kinds, 0 to 1.
    """

    kind: str
    count: int
    ms: float
    share: float


def measure_operators(
    path: Path, delegate: str, threads: int | None, seconds: float = child_process.SECONDS
) -> tuple[list[OperatorTime], str]:
    """Times the operators of a model in a process of its own.

    Args:
        path: The .tflite file.
        delegate: That runs it.
        threads: Of the CPU; None takes all cores.
        seconds: After these it is given up.

    Returns:
        The slowest kind first, and why there are none ("" if there are).
    """
    if delegate != "cpu":
        return [], f"LiteRT does not time operators on the {delegate}"
    count = threads or os.cpu_count() or 1
    command = [
        sys.executable,
        "-m",
        "bokeh_bench.workers.operator_profile",
        str(path),
        str(count),
    ]
    try:
        done = child_process.run(command, seconds=seconds)
    except child_process.TimeLimitError as error:
        return [], f"timing the operators {error}"
    if done.returncode:
        last = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return [], f"LiteRT did not time the operators ({last[-1]})"
    found = read_summary(done.stdout)
    return found, "" if found else "LiteRT's table of operator times is empty"


def read_summary(text: str) -> list[OperatorTime]:
    """Reads the table of `bokeh_bench.workers.operator_profile`."""
    rows = map(_ROW.match, text.partition(_BEGIN)[2].partition(_END)[0].splitlines())
    return [
        OperatorTime(
            kind=row["kind"].removeprefix("Delegate/"),
            count=int(row["count"]),
            ms=int(row["count"]) * float(row["ms"]),
            share=float(row["percent"]) / 100,
        )
        for row in rows
        if row
    ]
