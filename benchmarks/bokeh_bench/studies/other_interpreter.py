"""Latency in the interpreter of another TensorFlow, which an environment of its own holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bokeh_bench import child_process
from bokeh_runtime.errors import HardwareError, InputError

_SCRIPT = Path(__file__).parents[1] / "workers" / "tensorflow_lite.py"
_SECONDS = 3600.0
"""Time limit for all runs of all files."""
_REMEDY = "give the Python of an environment with TensorFlow"


def interpreter_name(python: Path) -> str:
    """Returns name and version of the interpreter, such as "TensorFlow Lite 2.16.1".

    Args:
        python: Python of an environment with TensorFlow and NumPy.

    Raises:
        HardwareError: If there is no such Python, or it has no TensorFlow.
    """
    return f"TensorFlow Lite {_run(python, {}, runs=0, threads=1)['version']}"


def latency_ratios(
    python: Path, files: Mapping[str, Path], baseline: str, *, runs: int, threads: int
) -> dict[str, float]:
    """Times files in interleaved runs, in one process of another environment.

    Args:
        python: Python of an environment with TensorFlow and NumPy.
        files: .tflite files by name.
        baseline: The file that the others are compared with, a key of `files`.
        runs: Number of timed runs of each file, at least 1.
        threads: Number of CPU threads.

    Returns:
        Median run time of each file divided by that of the baseline. A file that does not run in
        that interpreter is left out.

    Raises:
        HardwareError: If there is no such Python, or it has no TensorFlow.
        InputError: If the baseline does not run there, or the runs take more than an hour.
    """
    answer = _run(python, files, runs=runs, threads=threads)
    if baseline in answer["errors"]:
        raise InputError(
            f"{files[baseline]}: does not run in TensorFlow Lite {answer['version']} "
            f"({answer['errors'][baseline]}); leave out --interpreter-python"
        )
    medians: dict[str, float] = answer["medians_s"]
    return {name: round(median / medians[baseline], 2) for name, median in medians.items()}


def _run(python: Path, files: Mapping[str, Path], *, runs: int, threads: int) -> dict[str, Any]:
    paths = {name: str(path) for name, path in files.items()}
    request = json.dumps({"files": paths, "runs": runs, "threads": threads})
    try:
        # -I keeps the script's folder and PYTHONPATH out of its imports.
        done = child_process.run([python, "-I", _SCRIPT, request], seconds=_SECONDS)
    except OSError as error:
        raise HardwareError(f"{python}: cannot be started ({error.strerror}); {_REMEDY}") from error
    except child_process.TimeLimitError as error:
        raise InputError(f"{python}: the runs {error}; give fewer with --runs") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["killed"])[-1]
        raise HardwareError(f"{python}: cannot run .tflite files ({last}); {_REMEDY}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer
