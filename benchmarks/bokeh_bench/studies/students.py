"""The reports of `bokeh-train distill` and `bokeh-train finetune`, side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bokeh_bench.report.tables import grain_cells, markdown_table
from bokeh_runtime.errors import InputError
from bokeh_runtime.metrics.psnr import psnr_text

REPORT, SCHEMA = "report.json", "bokeh-tflite/distillation/1"
INT8_PARTS = ("int8 crops", "int8 whole views")
"""The parts of a training with the rounding of static int8."""
FIDELITY = ("psnr_db_mean", "psnr_db_worst", "grain_mean", "grain_worst")
"""What is shown of a report, by its keys."""


@dataclass(frozen=True)
class StudentRow:
    """A student, and how near it came to its teacher.

    Attributes:
        teacher: File name of the teacher.
        network: The student's width, kernels and residual blocks; if the teacher itself was
            trained on, what held it to what it drew.
        multiplications: Of the student's convolutions, relative to the teacher's.
        float_steps: Optimizer steps in float.
        int8_steps: Then, with the rounding of static int8.
        in_float: Fidelity without rounding: `FIDELITY` by name.
        in_int8: With it; None if the student was not trained with it.
        photos: Number of photos.
    """

    teacher: str
    network: str
    multiplications: float
    float_steps: int
    int8_steps: int
    in_float: Mapping[str, float | None]
    in_int8: Mapping[str, float | None] | None
    photos: int


def read_students(runs: Sequence[Path]) -> list[StudentRow]:
    """Returns a row for each folder of a run.

    Raises:
        InputError: If a folder has no report, or one of an older version.
    """
    return [_row(run / REPORT) for run in runs]


def _row(path: Path) -> StudentRow:
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: is no report of a training ({error}); give folders that "
            "`bokeh-train distill` or `bokeh-train finetune` wrote"
        ) from error
    if not isinstance(report, dict) or report.get("schema") != SCHEMA or "steps_done" not in report:
        raise InputError(
            f"{path}: is no report of this version; repeat the command that wrote it, which keeps "
            "what is trained"
        )
    student, training, steps = report["student"], report["training"], report["steps_done"]
    in_int8 = report["int8_fidelity"]
    return StudentRow(
        teacher=report["teacher"]["name"],
        network=_network(student, training),
        multiplications=_share(student, report["teacher"]),
        float_steps=sum(done for part, done in steps.items() if part not in INT8_PARTS),
        int8_steps=sum(done for part, done in steps.items() if part in INT8_PARTS),
        in_float=_quality(report["fidelity"]),
        in_int8=None if in_int8 is None else _quality(in_int8),
        photos=len(report["fidelity"]["images"]),
    )


def _network(student: Mapping[str, Any] | None, training: Mapping[str, Any]) -> str:
    if student is None:
        share, weight = training["frozen_below"], training["feature_weight"]
        return f"itself, layers below {share:g} of the height frozen, feature weight {weight:g}"
    kernels, blocks = student["kernels"], student["residual_blocks"]
    return f"width {student['width']:g}, {kernels} kernels, residual blocks: {blocks}"


def _share(student: Mapping[str, Any] | None, teacher: Mapping[str, Any]) -> float:
    if student is None:
        return 1.0
    return float(student["multiplications"]) / float(teacher["multiplications"])


def _quality(fidelity: Mapping[str, Any]) -> dict[str, float | None]:
    return {name: fidelity[name] for name in FIDELITY}


def table(rows: Sequence[StudentRow]) -> str:
    """Returns a Markdown table."""
    text = markdown_table(
        (
            *("teacher", "student", "multiplications", "steps in float", "in int8"),
            *("float: PSNR mean", "worst", "grain mean", "worst"),
            *("int8: PSNR mean", "worst", "grain mean", "worst"),
        ),
        [
            (
                *(row.teacher, row.network, f"{row.multiplications:.2f}"),
                *(str(row.float_steps), str(row.int8_steps)),
                *_cells(row.in_float),
                *_cells(row.in_int8),
            )
            for row in rows
        ],
        text_columns=2,
    )
    photos = " or ".join(map(str, sorted({row.photos for row in rows})))
    return f"{text}\n\nCompared with the teacher on {photos} photos that were not trained on."


def _cells(quality: Mapping[str, float | None] | None) -> tuple[str, ...]:
    if quality is None:
        return "", "", "", ""
    mean, worst, *grain = (quality[name] for name in FIDELITY)
    return psnr_text(mean), psnr_text(worst), *grain_cells(*grain)
