"""The report of a conversion: plain data, written as JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from bokeh_convert.verify import Fidelity

SCHEMA = "bokeh-tflite/conversion/1"
_TOOLS = ("bokeh-tflite", "tensorflow", "keras", "tf-keras", "ai-edge-litert", "litert-quantizer")


@dataclass(frozen=True)
class ConversionReport:
    """What one file is and how faithful it is. Units are in the names.

    Attributes:
        file: Name of the .tflite file, beside the report.
        scheme: See `bokeh_convert.quantize.SCHEMES`.
        timings: Seconds of each stage, in `read_s`, `reference_s` (the full model's pictures),
            `lower_s`, `ranges_s`, `quantize_s`, `verify_s`; the first four serve all files.
        passed: False if the picture is broken or under the asked `min_psnr_db`.
        failure: Why it did not pass.
        fidelity: See `fidelity_summary`; None if the picture is broken.
        reference: File name and SHA-256 of the reference pack that the fidelity was measured with,
            and of its photos.
        photos_passed_over: Photos that cannot be read, by name, and why.
        notes: What the readers of the other photos had to say.
        half_precision: Of a float16 file: whether it is marked for native half precision on ARM
            CPUs, and the PSNR of the rehearsal (`bokeh_convert.half`) that decided it.
        plan: Of an int8 file: which convolutions stay in float, the estimated cost relative to the
            float32 file, and the trade-off of every plan tried; see `bokeh_convert.plan.Plan`.
        passes: Rewrites of the graph and what each changed; see `bokeh_convert.passes`.
        operators: How often each stands in the file.
        placement: For each kind of operator, what keeps it from the GPU delegate and which NNAPI
            level it needs; see `bokeh_convert.placement.OperatorRow`.
        gpu_objections: What would keep the file from the GPU delegate; empty if nothing.
    """

    file: str
    scheme: str
    passed: bool
    failure: str | None
    min_psnr_db: float | None
    size_bytes: int
    sha256: str
    timings: dict[str, float]
    source: dict[str, Any]
    input: dict[str, Any]
    output: dict[str, Any]
    calibration: dict[str, Any] | None
    plan: dict[str, Any] | None
    reference: dict[str, Any]
    photos_passed_over: list[dict[str, str]]
    notes: list[str]
    fidelity: dict[str, Any] | None
    half_precision: dict[str, Any] | None
    passes: list[dict[str, Any]]
    operators: dict[str, int]
    gpu_objections: list[str]
    placement: list[dict[str, Any]]
    tools: dict[str, str]
    schema: str = SCHEMA

    def to_json(self) -> str:
        return to_json(asdict(self))


def to_json(value: Any) -> str:
    """Formats as JSON; not-a-number and infinity are errors, since JSON has neither."""
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)


def fidelity_summary(fidelity: Fidelity, computed_by: str) -> dict[str, Any]:
    """Returns the fidelity as JSON data. A PSNR of two identical pictures (infinity) is None.

    Args:
        fidelity: What was measured.
        computed_by: What drew the pictures: "the file", or a rehearsal of it.
    """
    return {
        "vs": "full_model",
        "computed_by": computed_by,
        "protocol": "full",
        "border_px": 0,
        "peak": 1.0,
        "psnr_db_mean": _finite(fidelity.psnr_db_mean),
        "psnr_db_worst": _finite(fidelity.psnr_db_worst),
        "ssim_mean": round(fidelity.ssim_mean, 6),
        "max_abs_error": max(image.max_abs_error for image in fidelity.images),
        "images": [
            {**asdict(image), "psnr_db": _finite(image.psnr_db)} for image in fidelity.images
        ],
    }


def tool_versions() -> dict[str, str]:
    """Returns the versions of what makes a file."""
    versions = {}
    for tool in _TOOLS:
        try:
            versions[tool] = version(tool)
        except PackageNotFoundError:
            versions[tool] = "not installed"
    return versions


def _finite(decibels: float) -> float | None:
    return round(decibels, 3) if math.isfinite(decibels) else None
