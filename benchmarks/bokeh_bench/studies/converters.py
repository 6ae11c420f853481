"""Converts a model with one of several tools, each in a process of its own."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bokeh_bench import child_process
from bokeh_runtime.errors import InputError

CONVERSION_SECONDS = 2 * 3600.0
"""Time limit of a conversion. Mixed-precision search of the full network takes almost an hour."""


@dataclass(frozen=True)
class Settings:
    """How every file is converted and run.

    Attributes:
        size: Height and width of the input, in pixels.
        photos: Folder of photos for calibration and verification; None uses the bundled ones.
        threads: Number of CPU threads.
        interpreter_python: Python of an environment with another TensorFlow, whose interpreter's
            latency is measured too; None leaves it out.
        held_out: Photos for the fidelity, see `bokeh_bench.studies.held_out`; None takes the
            verification photos.
    """

    size: tuple[int, int]
    photos: Path | None
    threads: int
    interpreter_python: Path | None = None
    held_out: Path | None = None


def convert_in_process(
    path: Path, method: str, settings: Settings, folder: Path
) -> tuple[bytes, dict[str, Any]]:
    """Converts a model in a process of its own.

    Args:
        path: The trained model.
        method: One of `bokeh_bench.workers.conversion.METHODS`.
        settings: How to convert it.
        folder: Gets a folder of this method, with the file.

    Returns:
        The file, and what was measured: `file` (its path), `convert_s`, `process_s`,
        `peak_rss_bytes` and, for bokeh-convert, `fidelity`.

    Raises:
        InputError: If the model cannot be converted.
    """
    began = time.monotonic()
    out = folder / method.replace(" ", "-")
    out.mkdir()
    module = [sys.executable, "-m", "bokeh_bench.workers.conversion"]
    request = {
        "path": str(path),
        "method": method,
        "size": settings.size,
        "photos": None if settings.photos is None else str(settings.photos),
        "out": str(out),
        "threads": settings.threads,
    }
    try:
        done = child_process.run([*module, json.dumps(request)], seconds=CONVERSION_SECONDS)
    except child_process.TimeLimitError as error:
        raise InputError(f"{path}: {method} {error}; leave it out with --only") from error
    if done.returncode:
        last = done.stderr.strip().splitlines() or ["killed"]
        raise InputError(f"{path}: {method} failed ({last[-1]})")
    figures = json.loads(done.stdout.splitlines()[-1])
    figures["process_s"] = time.monotonic() - began
    return Path(figures["file"]).read_bytes(), figures


def save_untrained(width: float, folder: Path) -> Path:
    """Saves an RGBD PyNET of the given width with random weights, and returns its path."""
    from bokeh_convert.pynet.network import pynet

    path = folder / "untrained.keras"
    pynet(width=width).save(path)
    return path
