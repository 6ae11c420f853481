"""The report of a conversion: plain data, written as JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from bokeh_runtime.metrics.fidelity import PROTOCOLS, Fidelity
from bokeh_runtime.metrics.psnr import PsnrSummary, finite_db

SCHEMA = "bokeh-tflite/conversion/1"
_TOOLS = ("bokeh-tflite", "tensorflow", "keras", "tf-keras", "ai-edge-litert", "litert-quantizer")


@dataclass(frozen=True)
class ConversionReport:
    """What one file is and how faithful it is. Units are in the names.

    Attributes:
        file: Name of the .tflite file, beside the report.
        scheme: See `bokeh_convert.quantize.schemes.SCHEMES`.
        timings: Seconds of each stage, in `read_s`, `reference_s` (the full model's pictures),
            `lower_s`, `ranges_s`, `quantize_s`, `verify_s`; the first four serve all files.
        passed: False if the picture is broken or under the asked PSNR.
        failure: Why it did not pass.
        min_psnr_db: What the mean and the pooled PSNR had to reach; None if nothing was asked.
        min_psnr_db_worst: What the worst photo had to reach; None likewise.
        fidelity: See `fidelity_summary`; None if the picture is broken.
        reference: File name and SHA-256 of the reference pack that the fidelity was measured with,
            and of its photos.
        photos_passed_over: Photos that cannot be read, by name, and why.
        half_precision: Of a float16 file: whether it is marked for native half precision on ARM
            CPUs, and the PSNR of the rehearsal (`bokeh_convert.quantize.fp16_arithmetic`) that
            decided it.
        plan: Of an int8 file: which convolutions stay in float, the estimated cost relative to the
            float32 file, and the trade-off of every plan tried; see
            `bokeh_convert.quantize.mixed_precision_search.Plan`.
        passes: Rewrites of the graph and what each changed; see `bokeh_convert.passes`.
        operators: How often each stands in the file.
        placement: For each kind of operator, what keeps it from the GPU delegate and which NNAPI
            level it needs; see `bokeh_convert.graph.delegate_compatibility.OperatorRow`.
        gpu_objections: What would keep the file from the GPU delegate; empty if nothing.
        notes: What the user should know of the run, in a line each.
    """

    file: str
    scheme: str
    passed: bool
    failure: str | None
    min_psnr_db: float | None
    min_psnr_db_worst: float | None
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
    fidelity: dict[str, Any] | None
    half_precision: dict[str, Any] | None
    passes: list[dict[str, Any]]
    operators: dict[str, int]
    gpu_objections: list[str]
    placement: list[dict[str, Any]]
    tools: dict[str, str]
    notes: list[str] = field(default_factory=list)
    schema: str = SCHEMA

    def to_json(self) -> str:
        return to_json(asdict(self))


def to_json(value: Any) -> str:
    """Formats as JSON; not-a-number and infinity are errors, since JSON has neither."""
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)


def fidelity_summary(fidelity: Fidelity, computed_by: str) -> dict[str, Any]:
    """Returns the fidelity as JSON data.

    A photo whose two pictures are identical has no finite PSNR: `psnr_db` is None and `identical`
    True. `psnr_db_mean` is over the photos that differ, `psnr_db_pooled` that of the mean squared
    error over all photos; both, and `psnr_db_worst`, are None only if `identical_images` counts all
    of them.

    Args:
        fidelity: What was measured.
        computed_by: What drew the pictures: "the file", or a rehearsal of it.
    """
    return {
        "vs": fidelity.vs,
        "computed_by": computed_by,
        "protocol": fidelity.protocol,
        "border_px": PROTOCOLS[fidelity.protocol],
        "peak": 1.0,
        **psnr_summary(fidelity.psnr),
        "ssim_mean": round(fidelity.ssim_mean, 6),
        "max_abs_error": max(image.max_abs_error for image in fidelity.images),
        "images": [
            {
                **asdict(image),
                "psnr_db": finite_db(image.psnr_db),
                "identical": image.psnr_db == math.inf,
            }
            for image in fidelity.images
        ],
    }


def psnr_summary(psnr: PsnrSummary) -> dict[str, Any]:
    """Returns what reports and metadata say of the PSNR over several photos."""
    return {
        "psnr_db_mean": finite_db(psnr.mean),
        "psnr_db_pooled": finite_db(psnr.pooled),
        "psnr_db_worst": finite_db(psnr.worst),
        "identical_images": psnr.identical_images,
    }


def no_psnr() -> dict[str, Any]:
    """Returns what stands in the place of a `psnr_summary` where the picture is broken."""
    figures = ("psnr_db_mean", "psnr_db_pooled", "psnr_db_worst")
    return {**dict.fromkeys(figures), "identical_images": 0}


def without_images(summary: dict[str, Any] | None) -> dict[str, Any]:
    """Returns a fidelity as a file's metadata has it: how many photos instead of each."""
    if summary is None:
        return {}
    return {**summary, "images": len(summary["images"])}


def tool_versions() -> dict[str, str]:
    """Returns the versions of what makes a file."""
    versions = {}
    for tool in _TOOLS:
        try:
            versions[tool] = version(tool)
        except PackageNotFoundError:
            versions[tool] = "not installed"
    return versions
