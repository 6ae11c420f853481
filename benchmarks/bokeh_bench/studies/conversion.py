"""Our conversions beside TFLiteConverter calls and litert-quantizer's recipes, in one run.

Each is made in a process of its own, whose time and peak memory are noted. Every file is held
against the same full model on the same photos, which calibrated none of them. Latency is a ratio
to the float32 file on this machine's CPU, the files taking turns run by run.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bokeh_bench import child_process
from bokeh_bench.devices.arm64.runner import ArmRunner
from bokeh_bench.report.tables import markdown_table
from bokeh_bench.workers.conversion import OURS
from bokeh_convert.report import fidelity_summary
from bokeh_convert.verify.verification import InvalidOutputError, verify
from bokeh_runtime.backends.interpreter import TfliteModel
from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.photo import FloatImage
from bokeh_runtime.metrics.psnr import psnr_text
from bokeh_runtime.tflite.reference_pack import Reference, load_reference

BASELINE = f"{OURS} float32"
SLOW = (f"{OURS} int16x8",)
"""Of these no instructions are counted: the kernels are plain, and QEMU would take an hour."""
CONVERSION_SECONDS = 2 * 3600.0
"""Of one conversion: the plan search of the paper's network takes the better part of an hour."""


@dataclass(frozen=True)
class Row:
    """One file.

    Attributes:
        made_by: The tool and its setting.
        convert_s: From the trained model in memory to the file.
        process_s: The whole process, Python's start, reading and (ours) the proof included.
        peak_rss_bytes: Of that process.
        psnr_db_mean, psnr_db_pooled, psnr_db_worst: Against the full model, no crop, peak 1.0; see
            `bokeh_runtime.metrics.psnr.PsnrSummary`. None if every picture is identical to that
            model's.
        ssim_mean: Likewise.
        latency_ratio: Median run time over that of "bokeh-convert float32"; None if not asked.
        instructions_ratio: On a phone's CPU kernels, over the same; None if not asked.
    """

    made_by: str
    size_bytes: int
    convert_s: float
    process_s: float
    peak_rss_bytes: int
    psnr_db_mean: float | None
    psnr_db_pooled: float | None
    psnr_db_worst: float | None
    ssim_mean: float
    latency_ratio: float | None
    instructions_ratio: float | None


def measure(
    path: Path,
    size: tuple[int, int],
    folder: Path,
    *,
    photos: Path | None,
    ways: Sequence[str],
    runs: int,
    threads: int,
    runner: ArmRunner | None,
    say: Callable[[str], None],
) -> list[Row]:
    """Converts a model in several ways and measures the files.

    Args:
        path: The trained model.
        size: Height and width of the input, in pixels.
        folder: For the files.
        photos: Folder of photos that calibrate and verify; None takes the bundled ones.
        ways: Of `bokeh_bench.workers.conversion.WAYS`; the first one of ours draws the reference.
        runs: Timed runs of each file; 0 leaves latency out.
        threads: CPU threads.
        runner: Counts instructions; None leaves them out.
        say: Told what is being done.

    Returns:
        One row for each way.

    Raises:
        InputError: If the model cannot be converted.
    """
    made: dict[str, tuple[bytes, dict[str, Any]]] = {}
    for way in ways:
        say(way)
        made[way] = _one(path, way, size, photos, folder, threads)
    reference = load_reference(next(folder.glob("**/*.reference.npz")))
    say("latency")
    files = {way: content for way, (content, _) in made.items()}
    ratios = _latency_ratios(files, reference, runs, threads) if runs else {}
    instructions = {} if runner is None else _instructions(path, files, reference, runner, say)
    rows = []
    for way, (content, figures) in made.items():
        say(f"fidelity of {way}")
        proof = figures.get("fidelity") or _fidelity(path, way, content, reference, threads)
        counted = instructions.get(way)
        rows.append(
            Row(
                way,
                len(content),
                round(figures["convert_s"], 1),
                round(figures["process_s"], 1),
                figures["peak_rss_bytes"],
                _rounded(proof["psnr_db_mean"]),
                _rounded(proof["psnr_db_pooled"]),
                _rounded(proof["psnr_db_worst"]),
                round(proof["ssim_mean"], 4),
                ratios.get(way),
                None if counted is None else round(counted / instructions[BASELINE], 2),
            )
        )
    return rows


def _instructions(
    path: Path,
    files: dict[str, bytes],
    reference: Reference,
    runner: ArmRunner,
    say: Callable[[str], None],
) -> dict[str, int]:
    """Counts the instructions of one inference of each file, but of the slow ones."""
    counted = {}
    inputs = np.stack(reference.inputs[:2])
    for way, content in files.items():
        if way in SLOW:
            continue
        say(f"instructions of {way}")
        try:
            both, first = (runner.run(content, part) for part in (inputs, inputs[:1]))
        except RuntimeError as error:
            raise InputError(f"{path}: {way}: {error}") from error
        counted[way] = both.instructions - first.instructions
    return counted


def _fidelity(
    path: Path, way: str, content: bytes, reference: Reference, threads: int
) -> dict[str, Any]:
    """Measures the fidelity of a file that brought no figures of its own."""
    try:
        fidelity, _ = verify(content, reference, threads=threads, on_photo=lambda: None)
    except InvalidOutputError as error:
        raise InputError(f"{path}: the file of {way} {error}; leave it out") from error
    return fidelity_summary(fidelity)


def _rounded(decibels: float | None) -> float | None:
    return None if decibels is None else round(decibels, 1)


def interleaved_medians(
    files: dict[str, bytes], photo: FloatImage, runs: int, threads: int
) -> dict[str, float]:
    """Returns the median run time of each file in seconds; they take turns, after one warm-up.

    Every other turn runs them in the opposite order: what ran before a file changes what it finds
    in the caches.
    """
    models = {name: TfliteModel(content, threads=threads) for name, content in files.items()}
    for model in models.values():
        model.run(photo)
    times: dict[str, list[float]] = {name: [] for name in files}
    for turn in range(runs):
        in_order = list(models.items())
        for name, model in in_order[::-1] if turn % 2 else in_order:
            began = time.perf_counter()
            model.run(photo)
            times[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in times.items()}


def save_untrained(width: float, folder: Path) -> Path:
    """Saves an RGBD PyNET of a width, with random weights, and returns the file."""
    from bokeh_convert.pynet.network import pynet

    path = folder / "untrained.keras"
    pynet(width=width).save(path)
    return path


def table(rows: Sequence[Row]) -> str:
    """Returns a Markdown table."""
    return markdown_table(
        (
            *("file", "size", "PSNR mean", "pooled", "worst", "SSIM", "instructions", "latency"),
            *("convert", "process", "peak"),
        ),
        [
            (
                row.made_by,
                f"{row.size_bytes / 1e6:.2f} MB",
                psnr_text(row.psnr_db_mean),
                psnr_text(row.psnr_db_pooled),
                psnr_text(row.psnr_db_worst),
                f"{row.ssim_mean:.4f}",
                "" if row.instructions_ratio is None else f"{row.instructions_ratio:.2f}",
                "" if row.latency_ratio is None else f"{row.latency_ratio:.2f}",
                f"{row.convert_s:.0f} s",
                f"{row.process_s:.0f} s",
                f"{row.peak_rss_bytes / 1e9:.1f} GB",
            )
            for row in rows
        ],
    )


def _one(
    path: Path,
    way: str,
    size: tuple[int, int],
    photos: Path | None,
    folder: Path,
    threads: int,
) -> tuple[bytes, dict[str, Any]]:
    began = time.monotonic()
    out = folder / way.replace(" ", "-")
    out.mkdir()
    module = [sys.executable, "-m", "bokeh_bench.workers.conversion"]
    asked = {
        "path": str(path),
        "way": way,
        "size": size,
        "photos": None if photos is None else str(photos),
        "out": str(out),
        "threads": threads,
    }
    try:
        done = child_process.run([*module, json.dumps(asked)], seconds=CONVERSION_SECONDS)
    except child_process.TimeLimitError as error:
        raise InputError(f"{path}: {way} {error}; leave it out with --only") from error
    if done.returncode:
        last = done.stderr.strip().splitlines() or ["killed"]
        raise InputError(f"{path}: {way} failed ({last[-1]})")
    figures = json.loads(done.stdout.splitlines()[-1])
    figures["process_s"] = time.monotonic() - began
    return Path(figures.pop("file")).read_bytes(), figures


def _latency_ratios(
    files: dict[str, bytes], reference: Reference, runs: int, threads: int
) -> dict[str, float]:
    photo = (reference.inputs[0] / np.float32(255)).astype(np.float32)
    medians = interleaved_medians(files, photo, runs, threads)
    return {name: round(median / medians[BASELINE], 2) for name, median in medians.items()}
