"""Fidelity and cost of .tflite files on a phone's CPU kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bokeh_bench.devices.arm64.runner import CPU, ArmRunner
from bokeh_bench.report.tables import markdown_table
from bokeh_runtime.errors import InputError
from bokeh_runtime.metrics.psnr import finite_db, psnr, psnr_text, summarize_psnr
from bokeh_runtime.tflite.reference_pack import Reference


@dataclass(frozen=True)
class ArmRow:
    """One file on the ARM kernels.

    Attributes:
        file: Its name.
        psnr_db_mean, psnr_db_pooled, psnr_db_worst: Against the full model, no crop, peak 1.0; see
            `bokeh_runtime.metrics.psnr.PsnrSummary`. None if every picture is identical to that
            model's.
        instructions: Of one inference, one thread.
        instructions_ratio: To those of the first file.
    """

    file: str
    psnr_db_mean: float | None
    psnr_db_pooled: float | None
    psnr_db_worst: float | None
    instructions: int
    instructions_ratio: float


def measure(
    files: Sequence[Path],
    reference: Reference,
    runner: ArmRunner,
    say: Callable[[str], None],
) -> list[ArmRow]:
    """Runs files on the ARM kernels, on photos of a reference pack.

    Args:
        files: Of one conversion.
        reference: At least two photos. A process that draws them all and one that draws a single
            one differ by the inferences between: loading, packing of weights and Python are in
            both.
        runner: The environment.
        say: Told what is being done.

    Raises:
        InputError: If a file is missing, does not run there or draws NaN, or the pack has a single
            photo.
    """
    photos = len(reference.inputs)
    if photos < 2:
        raise InputError("the reference pack: holds one photo; at least two are needed")
    rows: list[ArmRow] = []
    for file in files:
        say(file.name)
        try:
            content = file.read_bytes()
            every, first = (
                runner.run(content, np.stack(reference.inputs[:n])) for n in (photos, 1)
            )
        except OSError as error:
            raise InputError(f"{file}: cannot be read ({error.strerror})") from error
        except RuntimeError as error:
            raise InputError(f"{file}: {error}") from error
        if not np.isfinite(every.outputs).all():
            raise InputError(f"{file}: draws NaN or infinity on {CPU}; convert it again")
        drawn = zip(every.outputs, reference.outputs, strict=True)
        decibels = [psnr(np.clip(got, 0, 1), full, border_px=0) for got, full in drawn]
        found = summarize_psnr(decibels)
        instructions = round((every.instructions - first.instructions) / (photos - 1))
        baseline = rows[0].instructions if rows else instructions
        rows.append(
            ArmRow(
                file.name,
                finite_db(found.mean, 1),
                finite_db(found.pooled, 1),
                finite_db(found.worst, 1),
                instructions,
                round(instructions / baseline, 3),
            )
        )
    return rows


def table(rows: Sequence[ArmRow]) -> str:
    """Returns a Markdown table."""
    return markdown_table(
        ("file", "PSNR mean", "pooled", "worst", "million instructions", "ratio"),
        [
            (
                row.file,
                psnr_text(row.psnr_db_mean),
                psnr_text(row.psnr_db_pooled),
                psnr_text(row.psnr_db_worst),
                f"{row.instructions / 1e6:.0f}",
                f"{row.instructions_ratio:.2f}",
            )
            for row in rows
        ],
    )
