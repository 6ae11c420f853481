"""Time per operator type, from LiteRT's profiler."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bokeh_bench import child_process
from bokeh_runtime.tflite.file import TfliteFile

_BEGIN, _END = "Summary by node type", "Delegate Statistics"
_ROW = re.compile(r"\s*(?P<type>\S.*?)\s+(?P<count>\d+)\s+(?P<ms>[\d.]+)\s+(?P<percent>[\d.]+)%\s")


@dataclass(frozen=True)
class OperatorTime:
    """All operators of one node type: an XNNPACK kernel, or the interpreter's own operator.

    Attributes:
        node_type: LiteRT's name, such as "Convolution (NHWC, F32) IGEMM".
        count: Number of such operators in the model.
        time_ms: Mean time of all of them together in one inference.
        share: Fraction of the total over all node types, in [0, 1].
    """

    node_type: str
    count: int
    time_ms: float
    share: float


def measure_operator_times(
    file: TfliteFile,
    delegate: str,
    threads: int | None,
    seconds: float = child_process.TIMEOUT_SECONDS,
) -> tuple[list[OperatorTime], str]:
    """Profiles the operators of a model in a separate process.

    Args:
        file: The .tflite file.
        delegate: The delegate that runs it. Only "cpu" can be profiled.
        threads: Number of CPU threads; None uses all cores.
        seconds: Time limit of the process.

    Returns:
        The operator times, slowest first, and the reason if there are none (otherwise "").
    """
    if delegate != "cpu":
        return [], f"LiteRT does not profile operators on the {delegate}"
    if file.resized_to is not None:
        return [], "LiteRT's profiler runs a file at its own size, not resized"
    with tempfile.TemporaryDirectory() as folder:
        path = file.path
        if file.signature:  # the graph to profile is not the first of the file
            path = Path(folder, "model.tflite")
            path.write_bytes(file.content)
        return _profiled(path, threads, seconds)


def _profiled(path: Path, threads: int | None, seconds: float) -> tuple[list[OperatorTime], str]:
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
        return [], f"profiling the operators {error}"
    if done.returncode:
        last = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return [], f"LiteRT failed to profile the operators ({last[-1]})"
    times = parse_profile(done.stdout)
    return times, "" if times else "LiteRT's operator profile is empty"


def parse_profile(text: str) -> list[OperatorTime]:
    """Parses the profile summary that `bokeh_bench.workers.operator_profile` prints."""
    rows = map(_ROW.match, text.partition(_BEGIN)[2].partition(_END)[0].splitlines())
    return [
        OperatorTime(
            node_type=row["type"].removeprefix("Delegate/"),
            count=int(row["count"]),
            time_ms=int(row["count"]) * float(row["ms"]),
            share=float(row["percent"]) / 100,
        )
        for row in rows
        if row
    ]
