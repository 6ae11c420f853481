"""Compares bokeh-convert's files with those of TFLiteConverter and of litert-quantizer's recipes.

Each conversion runs in a process of its own, whose time and peak memory are measured. All files are
compared with the same full model on the same photos, none of which was used for calibration; of
`Settings.held_out`, the search has seen none either.
Latency is relative to the float32 file on this machine's CPU; the files' runs are interleaved. It
can be measured in the interpreter of another TensorFlow too.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bokeh_bench.devices.arm64.runner import ArmRunner
from bokeh_bench.report.tables import grain_cells, markdown_table
from bokeh_bench.studies.converters import Settings, convert_in_process
from bokeh_bench.studies.other_interpreter import interpreter_name, latency_ratios
from bokeh_bench.workers.conversion import BOKEH_CONVERT, TFLITE_CONVERTER, calibration_photos
from bokeh_convert.report import fidelity_summary
from bokeh_convert.verify.verification import InvalidOutputError, verify
from bokeh_runtime.backends.interpreter import TfliteModel
from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.photo import FloatImage
from bokeh_runtime.metrics.psnr import psnr_text
from bokeh_runtime.tflite.reference_pack import Reference, load_reference

BASELINE = f"{BOKEH_CONVERT} float32"
_NO_FIDELITY = dict.fromkeys(
    ("psnr_db_mean", "psnr_db_pooled", "psnr_db_worst", "ssim_mean", "grain_mean", "grain_worst")
)
SLOW = (f"{BOKEH_CONVERT} int16x8", f"{TFLITE_CONVERTER} int16x8")
"""Their instructions are not counted: without optimized kernels QEMU would take an hour."""


@dataclass(frozen=True)
class Row:
    """One converted file.

    Attributes:
        made_by: Tool and scheme.
        size_bytes: Size of the file.
        convert_s: Time from the trained model in memory to the file, in seconds.
        process_s: Time of the whole process, including Python's start, reading the model and (for
            bokeh-convert) verification.
        peak_rss_bytes: Peak resident memory of that process.
        psnr_db_mean, psnr_db_pooled, psnr_db_worst: PSNR vs full model in dB, no border crop, peak
            1.0; see `bokeh_runtime.metrics.psnr.PsnrSummary`. None if all outputs are identical,
            or the file does not run.
        ssim_mean: Mean SSIM vs full model; None if the file does not run.
        latency_ratio: Median run time divided by that of "bokeh-convert float32"; None if it was
            not measured.
        instructions_ratios: Instructions on a phone's CPU kernels divided by those of
            "bokeh-convert float32", by the name of the CPU; without those that were not counted.
        grain_mean, grain_worst: Grain vs full model, see `bokeh_runtime.metrics.grain`. None if no
            photo has smooth areas, and in files that were measured before there was grain.
        other_interpreter: Name and version of a second interpreter; None if there was none.
        other_latency_ratio: As `latency_ratio`, in that interpreter; None if the file does not run
            there.
        held_out_photos: Number of held-out photos that PSNR, SSIM and grain are of; None if they
            are of the conversion's verification photos.
        failure: Why LiteRT does not run the file; None if it does.
    """

    made_by: str
    size_bytes: int
    convert_s: float
    process_s: float
    peak_rss_bytes: int
    psnr_db_mean: float | None
    psnr_db_pooled: float | None
    psnr_db_worst: float | None
    ssim_mean: float | None
    latency_ratio: float | None
    instructions_ratios: dict[str, float]
    grain_mean: float | None = None
    grain_worst: float | None = None
    other_interpreter: str | None = None
    other_latency_ratio: float | None = None
    held_out_photos: int | None = None
    failure: str | None = None


def measure(
    path: Path,
    settings: Settings,
    folder: Path,
    *,
    methods: Sequence[str],
    runs: int,
    runners: Sequence[ArmRunner],
    progress: Callable[[str], None],
) -> list[Row]:
    """Converts a model with several methods and measures the files.

    Args:
        path: The trained model.
        settings: How to convert it and to run the files.
        folder: Folder for the files.
        methods: Some of `bokeh_bench.workers.conversion.METHODS`, `BASELINE` among them. The first
            method of bokeh-convert computes the reference outputs.
        runs: Number of timed runs of each file; 0 leaves the latency out.
        runners: Count instructions, each on a CPU of its own; none leaves them out.
        progress: Called with a description of each step.

    Returns:
        One row for each method.

    Raises:
        InputError: If the model cannot be converted.
        HardwareError: If the other interpreter is not available.
    """
    python = settings.interpreter_python if runs else None
    other = None if python is None else interpreter_name(python)
    made: dict[str, tuple[bytes, dict[str, Any]]] = {}
    for method in methods:
        progress(method)
        made[method] = convert_in_process(path, method, settings, folder)
    reference = load_reference(next(folder.glob("**/*.reference.npz")))
    progress("latency")
    threads = settings.threads
    failures = {
        method: failure
        for method, (content, _) in made.items()
        if (failure := _failure(content, _photo(reference)))
    }
    files = {method: content for method, (content, _) in made.items() if method not in failures}
    ratios = _latency_ratios(files, reference, runs, threads) if runs else {}
    other_ratios = {}
    if python is not None:
        progress(f"latency in {other}")
        paths = {method: Path(figures["file"]) for method, (_, figures) in made.items()}
        other_ratios = latency_ratios(python, paths, BASELINE, runs=runs, threads=threads)
    instructions = {
        runner.profile.name: _instructions(path, files, reference, runner, progress)
        for runner in runners
    }
    held_out = _held_out(path, settings, reference, progress)
    rows = []
    for method, (content, figures) in made.items():
        progress(f"fidelity of {method}")
        fidelity = figures.get("fidelity") if held_out is None else None
        if fidelity is None and method not in failures:
            fidelity = _fidelity(path, method, content, held_out or reference, threads)
        measured = {
            "latency_ratio": ratios.get(method),
            "instructions_ratios": {
                cpu: round(counted[method] / counted[BASELINE], 2)
                for cpu, counted in instructions.items()
                if method in counted
            },
            "other_interpreter": other,
            "other_latency_ratio": other_ratios.get(method),
            "held_out_photos": None if held_out is None else len(held_out.names),
            "failure": failures.get(method),
        }
        rows.append(_row(method, content, {**figures, "fidelity": fidelity}, measured))
    return rows


def _row(method: str, content: bytes, figures: dict[str, Any], measured: dict[str, Any]) -> Row:
    """Returns a row of the figures of the conversion and of what was measured afterwards."""
    fidelity = figures["fidelity"] or _NO_FIDELITY
    return Row(
        made_by=method,
        size_bytes=len(content),
        convert_s=round(figures["convert_s"], 1),
        process_s=round(figures["process_s"], 1),
        peak_rss_bytes=figures["peak_rss_bytes"],
        psnr_db_mean=_rounded(fidelity["psnr_db_mean"]),
        psnr_db_pooled=_rounded(fidelity["psnr_db_pooled"]),
        psnr_db_worst=_rounded(fidelity["psnr_db_worst"]),
        ssim_mean=_rounded(fidelity["ssim_mean"], 4),
        grain_mean=fidelity["grain_mean"],
        grain_worst=fidelity["grain_worst"],
        **measured,
    )


def _held_out(
    path: Path, settings: Settings, reference: Reference, progress: Callable[[str], None]
) -> Reference | None:
    """Returns the full model's outputs on the held-out photos; None if there are none.

    After the latency, because TensorFlow is loaded into this process.
    """
    if settings.held_out is None:
        return None
    from bokeh_bench.studies.held_out import held_out_reference

    channels = reference.inputs[0].shape[2]
    calibrated = calibration_photos(settings.photos, channels)
    step = f"full model on {settings.held_out.name}"
    progress(step)
    return held_out_reference(
        path, settings.held_out, calibrated, settings.size, lambda: progress(step)
    )


def _instructions(
    path: Path,
    files: dict[str, bytes],
    reference: Reference,
    runner: ArmRunner,
    progress: Callable[[str], None],
) -> dict[str, int]:
    """Counts the instructions of one inference of each file that is not in `SLOW`."""
    counted = {}
    inputs = np.stack(reference.inputs[:2])
    for method, content in files.items():
        if method in SLOW:
            continue
        progress(f"instructions of {method} on {runner.profile.name}")
        try:
            both, first = (runner.run(content, part) for part in (inputs, inputs[:1]))
        except RuntimeError as error:
            raise InputError(f"{path}: {method}: {error}") from error
        counted[method] = both.instructions - first.instructions
    return counted


def _fidelity(
    path: Path, method: str, content: bytes, reference: Reference, threads: int
) -> dict[str, Any]:
    """Measures the fidelity of a file whose tool does not report it."""
    try:
        fidelity, _ = verify(content, reference, threads=threads, on_photo=lambda: None)
    except InvalidOutputError as error:
        raise InputError(
            f"{path}: the file of {method} {error}; leave it out with --only"
        ) from error
    return fidelity_summary(fidelity)


def _failure(content: bytes, photo: FloatImage) -> str | None:
    """Returns why LiteRT does not run a file, in a line; None if it does."""
    try:
        TfliteModel(content, threads=1).run(photo)
    except InputError as error:
        return str(error)
    return None


def _rounded(value: float | None, digits: int = 1) -> float | None:
    return None if value is None else round(value, digits)


def interleaved_medians(
    files: dict[str, bytes], photo: FloatImage, runs: int, threads: int
) -> dict[str, float]:
    """Returns the median run time of each file in seconds, after one warm-up run.

    The runs are interleaved, and the order is reversed in every other round, because the previous
    model changes the contents of the caches.
    """
    models = {name: TfliteModel(content, threads=threads) for name, content in files.items()}
    for model in models.values():
        model.run(photo)
    times: dict[str, list[float]] = {name: [] for name in files}
    for i in range(runs):
        in_order = list(models.items())
        for name, model in in_order[::-1] if i % 2 else in_order:
            began = time.perf_counter()
            model.run(photo)
            times[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in times.items()}


def table(rows: Sequence[Row]) -> str:
    """Returns a Markdown table, with a column for each CPU whose instructions were counted.

    A sentence below it says on how many held-out photos the quality was measured, if any.
    """
    held_out = next((row.held_out_photos for row in rows if row.held_out_photos), None)
    if held_out is None:
        return _table(rows)
    return (
        f"{_table(rows)}\n\nQuality over {held_out} photos that neither calibration nor search has "
        "seen."
    )


def _table(rows: Sequence[Row]) -> str:
    cpus = list(dict.fromkeys(cpu for row in rows for cpu in row.instructions_ratios))
    other = next((row.other_interpreter for row in rows if row.other_interpreter), "")
    return markdown_table(
        (
            *("file", "size", "PSNR mean", "pooled", "worst", "SSIM", "grain mean", "worst"),
            *(f"instructions ratio ({cpu})" for cpu in cpus),
            *("latency ratio", f"in {other}", "conversion time", "process time", "peak RSS"),
        ),
        [
            (
                row.made_by,
                f"{row.size_bytes / 1e6:.2f} MB",
                *_quality_cells(row),
                *grain_cells(row.grain_mean, row.grain_worst),
                *(_ratio(row.instructions_ratios.get(cpu)) for cpu in cpus),
                _ratio(row.latency_ratio),
                _other_cell(row),
                f"{row.convert_s:.0f} s",
                f"{row.process_s:.0f} s",
                f"{row.peak_rss_bytes / 1e9:.1f} GB",
            )
            for row in rows
        ],
    )


def _quality_cells(row: Row) -> tuple[str, ...]:
    if row.failure is not None or row.ssim_mean is None:
        return "does not run", "", "", ""
    return (
        psnr_text(row.psnr_db_mean),
        psnr_text(row.psnr_db_pooled),
        psnr_text(row.psnr_db_worst),
        f"{row.ssim_mean:.4f}",
    )


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _other_cell(row: Row) -> str:
    if row.other_interpreter is None:
        return ""
    return "does not run" if row.other_latency_ratio is None else f"{row.other_latency_ratio:.2f}"


def _photo(reference: Reference) -> FloatImage:
    return np.asarray(reference.inputs[0] / np.float32(255), np.float32)


def _latency_ratios(
    files: dict[str, bytes], reference: Reference, runs: int, threads: int
) -> dict[str, float]:
    medians = interleaved_medians(files, _photo(reference), runs, threads)
    return {name: round(median / medians[BASELINE], 2) for name, median in medians.items()}
