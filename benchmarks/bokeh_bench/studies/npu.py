"""Compiles the files of several schemes for NPUs, and compares their emulated output.

A photo takes minutes on the emulator, so every output is kept in a folder, and a study that was
interrupted goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bokeh_bench.report.tables import grain_cells, markdown_table
from bokeh_bench.studies.npu_files import Plan, converted
from bokeh_convert.data.calibration_data import to_network_input
from bokeh_convert.npu.emulator import Emulator
from bokeh_convert.npu.vendors import find_npus
from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.photo import FloatImage
from bokeh_runtime.metrics import grain
from bokeh_runtime.metrics.fidelity import Fidelity, compare
from bokeh_runtime.metrics.psnr import psnr_text
from bokeh_runtime.metrics.registry import conversion_metrics
from bokeh_runtime.tflite.file import read_tflite
from bokeh_runtime.tflite.image_ranges import ranges_of
from bokeh_runtime.tflite.reference_pack import load_reference


@dataclass(frozen=True)
class NpuRow:
    """A file that was compiled for an NPU, and the same file on the CPU.

    Attributes:
        npu: The NPU, such as "qualcomm:SM8650".
        scheme: Quantization scheme.
        operators, taken, parts: What the NPU runs; see `bokeh_convert.report.npu_summary`.
        compile_s: Duration of the compilation, in seconds.
        size_bytes: Size of the compiled file; None if it was not compiled.
        photos: Number of photos that were emulated.
        emulated_psnr_mean, emulated_psnr_worst: PSNR of the emulator's output against the full
            model, in dB, no border crop; None if it was not emulated.
        emulated_grain_mean, emulated_grain_worst: Grain likewise, in 1/255.
        emulation_s: Median duration per photo, in seconds.
        cpu_psnr_mean, cpu_psnr_worst, cpu_grain_mean, cpu_grain_worst: The same of the file's
            output on this CPU, on all verification photos.
    """

    npu: str
    scheme: str
    operators: int
    taken: int
    parts: int
    compile_s: float
    size_bytes: int | None
    photos: int
    emulated_psnr_mean: float | None
    emulated_psnr_worst: float | None
    emulated_grain_mean: float | None
    emulated_grain_worst: float | None
    emulation_s: float | None
    cpu_psnr_mean: float | None
    cpu_psnr_worst: float | None
    cpu_grain_mean: float | None
    cpu_grain_worst: float | None


def measure(model: Path, plan: Plan, progress: Callable[[str], None]) -> list[NpuRow]:
    """Compiles a trained model with every scheme for every NPU, and emulates it.

    Args:
        model: The trained model.
        plan: What to measure.
        progress: Called with a description of each step.

    Raises:
        HardwareError: If a compiler or the emulator is missing or fails.
        InputError: If the model cannot be converted.
    """
    names = [npu.name for npu in find_npus(plan.npus)]
    emulated_names = [npu.name for npu in find_npus(plan.emulated)]
    for name in emulated_names:
        if name not in names:
            raise InputError(f"--emulate {name}: is not compiled for; add --npu {name}")
    reports = converted(model, plan, plan.folder, progress, npus=names)
    rows = []
    for name in names:
        for report in reports:
            made = next(each for each in report["npu"] if each["npu"] == name)
            emulated = None
            if made["whole"] and plan.photos and name in emulated_names:
                emulated = _emulate(plan, report, made, progress)
            rows.append(_row(report, made, emulated))
    return rows


@dataclass(frozen=True)
class _Emulated:
    fidelity: Fidelity
    seconds: float


def _emulate(
    plan: Plan, report: dict[str, Any], made: dict[str, Any], progress: Callable[[str], None]
) -> _Emulated:
    folder, photos = plan.folder, plan.photos
    reference = load_reference(folder / report["reference"]["file"]).first(photos)
    file = read_tflite(folder / made["file"])
    emulator = Emulator(file.content, ranges_of(file, None, None))
    images, seconds = [], []
    for name, pixels, expected in zip(
        reference.names, reference.inputs, reference.outputs, strict=True
    ):
        progress(f"emulating {report['scheme']} on {made['npu']}: {name}")
        key = hashlib.sha256(file.content + pixels.tobytes()).hexdigest()[:24]
        kept = folder / "emulated" / f"{key}.npz"
        output, took = _kept(kept, emulator, to_network_input(pixels))
        seconds.append(took)
        metrics = conversion_metrics()
        clipped = np.clip(output, 0, 1)
        images.append(compare(name, clipped, expected, border_px=0, metrics=metrics))
    return _Emulated(Fidelity(images), statistics.median(seconds))


def _kept(path: Path, emulator: Emulator, image: FloatImage) -> tuple[FloatImage, float]:
    """Returns an output and how long the emulator took, from a file if that is there."""
    if path.exists():
        with np.load(path) as kept:
            return kept["output"], float(kept["seconds"])
    start = time.monotonic()
    output = emulator.run(image)
    seconds = time.monotonic() - start
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}.tmp.npz")
    np.savez_compressed(unfinished, output=output, seconds=np.array(seconds))
    unfinished.replace(path)
    return output, seconds


def _row(report: dict[str, Any], made: dict[str, Any], emulated: _Emulated | None) -> NpuRow:
    cpu, fidelity = report["fidelity"] or {}, None if emulated is None else emulated.fidelity
    psnr = None if fidelity is None else fidelity.psnr
    return NpuRow(
        npu=made["npu"],
        scheme=report["scheme"],
        operators=made["operators"],
        taken=made["taken"],
        parts=made["parts"],
        compile_s=made["compile_s"],
        size_bytes=made["size_bytes"],
        photos=0 if fidelity is None else len(fidelity.images),
        emulated_psnr_mean=None if psnr is None else psnr.mean,
        emulated_psnr_worst=None if psnr is None else psnr.worst,
        emulated_grain_mean=None if fidelity is None else fidelity.mean(grain.METRIC),
        emulated_grain_worst=None if fidelity is None else fidelity.worst(grain.METRIC),
        emulation_s=None if emulated is None else round(emulated.seconds, 1),
        cpu_psnr_mean=cpu.get("psnr_db_mean"),
        cpu_psnr_worst=cpu.get("psnr_db_worst"),
        cpu_grain_mean=cpu.get("grain_mean"),
        cpu_grain_worst=cpu.get("grain_worst"),
    )


def table(rows: Sequence[NpuRow]) -> str:
    """Returns a Markdown table."""
    headings = (
        *("NPU", "scheme", "operators", "parts", "compiled in", "size"),
        *("PSNR emulated", "worst", "grain", "worst"),
        *("PSNR on the CPU", "worst", "grain", "worst"),
    )
    return markdown_table(headings, [tuple(_cells(row)) for row in rows], text_columns=2)


def _cells(row: NpuRow) -> Iterator[str]:
    yield from (row.npu, row.scheme, f"{row.taken} of {row.operators}", str(row.parts))
    yield f"{row.compile_s:.0f} s"
    yield "" if row.size_bytes is None else f"{row.size_bytes / 1e6:.2f} MB"
    yield psnr_text(row.emulated_psnr_mean) if row.photos else "not emulated"
    yield psnr_text(row.emulated_psnr_worst) if row.photos else ""
    yield from grain_cells(row.emulated_grain_mean, row.emulated_grain_worst)
    for psnr_db in (row.cpu_psnr_mean, row.cpu_psnr_worst):
        yield psnr_text(psnr_db)
    yield from grain_cells(row.cpu_grain_mean, row.cpu_grain_worst)
