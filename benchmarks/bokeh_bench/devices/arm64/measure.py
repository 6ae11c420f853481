"""Fidelity and instruction count of .tflite files on a phone's CPU kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bokeh_bench.devices.arm64.runner import ArmRunner
from bokeh_bench.report.tables import markdown_table
from bokeh_runtime.errors import InputError
from bokeh_runtime.metrics.psnr import finite_db, psnr, psnr_text, summarize_psnr
from bokeh_runtime.tflite.reference_pack import Reference


@dataclass(frozen=True)
class ArmRow:
    """One file on the ARM kernels.

    Attributes:
        file: File name.
        profile: Name of the CPU.
        psnr_db_mean, psnr_db_pooled, psnr_db_worst: PSNR vs full model in dB, no border crop, peak
            1.0; see `bokeh_runtime.metrics.psnr.PsnrSummary`. None if all outputs are identical.
        instructions: Number of instructions of one inference with one thread.
        instructions_ratio: `instructions` divided by that of the first file on the same CPU.
    """

    file: str
    profile: str
    psnr_db_mean: float | None
    psnr_db_pooled: float | None
    psnr_db_worst: float | None
    instructions: int
    instructions_ratio: float


def measure(
    files: Sequence[Path],
    reference: Reference,
    runner: ArmRunner,
    progress: Callable[[str], None],
) -> list[ArmRow]:
    """Runs files on the ARM kernels, on the photos of a reference pack.

    Args:
        files: .tflite files of one conversion.
        reference: At least two photos. The instructions of one inference are the difference between
            a process that runs all photos and one that runs the first, divided by the number of
            additional inferences; loading, packing weights and Python's start cancel out.
        runner: Runs the files.
        progress: Called with a description of each step.

    Raises:
        InputError: If a file is missing, does not run or outputs NaN, or the pack has only one
            photo.
    """
    photos = len(reference.inputs)
    if photos < 2:
        raise InputError("the reference pack has only one photo; give one with at least two")
    rows: list[ArmRow] = []
    for file in files:
        progress(file.name)
        try:
            content = file.read_bytes()
            all_photos, first = (
                runner.run(content, np.stack(reference.inputs[:n])) for n in (photos, 1)
            )
        except OSError as error:
            raise InputError(f"{file}: cannot be read ({error.strerror})") from error
        except RuntimeError as error:
            raise InputError(f"{file}: {error}") from error
        if not np.isfinite(all_photos.outputs).all():
            raise InputError(
                f"{file}: the output contains NaN or infinity on {runner.profile.name}; "
                "convert it again"
            )
        pairs = zip(all_photos.outputs, reference.outputs, strict=True)
        summary = summarize_psnr(
            [psnr(np.clip(output, 0, 1), full, border_px=0) for output, full in pairs]
        )
        instructions = round((all_photos.instructions - first.instructions) / (photos - 1))
        baseline = rows[0].instructions if rows else instructions
        rows.append(
            ArmRow(
                file.name,
                runner.profile.name,
                finite_db(summary.mean, 1),
                finite_db(summary.pooled, 1),
                finite_db(summary.worst, 1),
                instructions,
                round(instructions / baseline, 3),
            )
        )
    return rows


def table(rows: Sequence[ArmRow]) -> str:
    """Returns a Markdown table."""
    return markdown_table(
        ("file", "CPU", "PSNR mean", "pooled", "worst", "million instructions", "ratio"),
        [
            (
                row.file,
                row.profile,
                psnr_text(row.psnr_db_mean),
                psnr_text(row.psnr_db_pooled),
                psnr_text(row.psnr_db_worst),
                f"{row.instructions / 1e6:.0f}",
                f"{row.instructions_ratio:.2f}",
            )
            for row in rows
        ],
        text_columns=2,
    )
