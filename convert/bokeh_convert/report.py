"""The report of a conversion, written as JSON next to each converted file."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from bokeh_runtime.metrics.fidelity import PROTOCOLS, Fidelity
from bokeh_runtime.metrics.psnr import PsnrSummary, finite_db
from bokeh_runtime.metrics.registry import Metric, conversion_metrics

if TYPE_CHECKING:
    from bokeh_convert.npu.compiler import NpuBuild
    from bokeh_convert.stages.compile import Emulation

SCHEMA = "bokeh-tflite/conversion/2"
_TOOLS = ("bokeh-tflite", "tensorflow", "keras", "tf-keras", "ai-edge-litert", "litert-quantizer")


@dataclass(frozen=True)
class ConversionReport:
    """The report on one converted file.

    The attributes are the keys of the JSON file. Keys carry their unit as a suffix: `_db`,
    `_bytes`, `_s`. PSNR has peak 1.0 and no border crop.

    Attributes:
        file: Name of the .tflite file, in the same folder as the report.
        scheme: Quantization scheme, a key of `bokeh_convert.quantize.schemes.SCHEMES`.
        passed: False if the output is invalid, or if a limit on quality or cost is not met.
        failure: Why the file did not pass; None if it passed.
        min_psnr_db: Limit on the mean and on the pooled PSNR; None if no limit applies.
        min_psnr_db_worst: Limit on the PSNR of the worst photo; None if no limit applies.
        max_grain: Limit on the grain of the worst photo, in 1/255; None if no limit applies.
        size_bytes: Size of the .tflite file.
        sha256: SHA-256 of the .tflite file, in hex.
        timings: Seconds per stage: `read_s`, `reference_s` (running the full model), `lower_s`,
            `calibrate_s`, `quantize_s`, `verify_s`. The first four are shared by all files of a
            run; `calibrate_s` is absent if no scheme needed it.
        source: The trained model: `file`, `format` (see
            `bokeh_convert.sources.float_model.FloatModel`) and `sha256`.
        input: Network input: `height` and `width` in pixels, `channels` ("rgb" or "rgbd").
        output: Network output: `name` in the trained model, `height` and `width` in pixels.
        calibration: Photos that calibration or the mixed-precision search used; None if the scheme
            needs none. `dataset` (folder, or "bundled photos"), `depth` ("none", "files" or
            "ramp"), `count`, `seed`, `photos` (file names) and `photos_sha256`.
        mixed_precision: For int8 and dynamic: the result of the mixed-precision search; None for
            other schemes. `constraints` (`min_psnr_db`, `min_psnr_db_worst`, `max_grain`,
            `max_cost_ratio`), and the keys of
            `bokeh_convert.quantize.mixed_precision_search.SearchResult.summary`.
        reference: Reference pack that the fidelity was measured with: `file`, `sha256`, and
            `photos_sha256` of the verification photos.
        skipped_photos: Unreadable photos: `photo` (file name) and `cause`.
        fidelity: Against the source, or against its teacher if there is one; see
            `fidelity_summary`; None if the output is invalid.
        teacher: The model that the source was distilled from: `file`, `format` and `sha256`; None
            if `--teacher` was not given.
        own_fidelity: Against the source, if there is a teacher; else None.
        fp16_arithmetic: For float16 and int8: whether ARM CPUs may compute what is float in
            float16; None for other schemes. `allowed`, `min_psnr_db` (limit on the worst photo;
            None if nothing but identical images meets it), the PSNR of the emulation that decided
            it (see `psnr_summary`), and why not: `failure` if its output is invalid, `shortfall` if
            it misses a limit.
        passes: Graph rewrites: `name`, `changes` (what is counted) and `count`.
        operators: Number of operators in the file, by name.
        gpu_unsupported_ops: Operators that the GPU delegate does not support, one line each.
        delegate_compatibility: For each kind of operator, GPU support and the required NNAPI level;
            see `bokeh_convert.graph.delegate_compatibility.OperatorRow`.
        targets: How each target runs the file; see
            `bokeh_convert.graph.target_support.TargetSupport`. Those of `--target`, or all.
        npu: What the compiler of each NPU of `--npu` made of the file; see `npu_summary`.
        tools: Versions of the tools that made the file, by package name.
        notes: Remarks on the photos, one line each.
        schema: Name and version of this format.
    """

    file: str
    scheme: str
    passed: bool
    failure: str | None
    min_psnr_db: float | None
    min_psnr_db_worst: float | None
    max_grain: float | None
    size_bytes: int
    sha256: str
    timings: dict[str, float]
    source: dict[str, Any]
    input: dict[str, Any]
    output: dict[str, Any]
    calibration: dict[str, Any] | None
    mixed_precision: dict[str, Any] | None
    reference: dict[str, Any]
    skipped_photos: list[dict[str, str]]
    fidelity: dict[str, Any] | None
    fp16_arithmetic: dict[str, Any] | None
    passes: list[dict[str, Any]]
    operators: dict[str, int]
    gpu_unsupported_ops: list[str]
    delegate_compatibility: list[dict[str, Any]]
    targets: list[dict[str, Any]]
    npu: list[dict[str, Any]]
    tools: dict[str, str]
    notes: list[str] = field(default_factory=list)
    teacher: dict[str, Any] | None = None
    own_fidelity: dict[str, Any] | None = None
    schema: str = SCHEMA

    def to_json(self) -> str:
        """Returns the report as JSON text."""
        return to_json(asdict(self))


def to_json(value: Any) -> str:
    """Returns JSON text.

    Raises:
        ValueError: If a number is NaN or infinite, which JSON cannot represent.
    """
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)


def fidelity_summary(fidelity: Fidelity, *, emulated: bool = False) -> dict[str, Any]:
    """Returns the fidelity as JSON data.

    If output and reference of a photo are identical, the PSNR is infinite: `psnr_db` is None and
    `identical` is True. `psnr_db_mean` averages over the other photos; `psnr_db_pooled` is the PSNR
    of the mean squared error over all photos. These and `psnr_db_worst` are None only if all photos
    are identical, that is if `identical_images` equals their number. Means and worst values of the
    other metrics are over the photos that the metric is defined for, and None if there is none.

    Args:
        fidelity: The measurement.
        emulated: Whether the output was computed by an emulation of the file, because the file
            itself is too slow here.
    """
    return {
        "vs": fidelity.vs,
        "emulated": emulated,
        **_fidelity_figures(fidelity, conversion_metrics()),
        "images": [
            {
                "name": image.name,
                "psnr_db": finite_db(image.psnr_db),
                **image.values,
                "max_abs_error": image.max_abs_error,
                "identical": image.psnr_db == math.inf,
            }
            for image in fidelity.images
        ],
    }


def npu_summary(build: NpuBuild, file: str | None, emulation: Emulation | None) -> dict[str, Any]:
    """Returns what an NPU runs of a file as JSON data.

    `npu` is the value of `--npu`, and `file` the name of the compiled file. Of the file's
    `operators`, the NPU runs `taken` in `parts` parts, and `refused` lists the others: `operator`,
    `count` and `reason`, in the compiler's words. `failure` says why there is no compiled file. The
    emulator's `fidelity` is like that of the report, on the first verification photos.

    Args:
        build: What the compiler made.
        file: Name of the compiled file; None if it is not written.
        emulation: What the emulator computed; None if it was not run.
    """
    content = build.content
    return {
        "npu": build.npu.name,
        "file": file,
        "whole": build.whole,
        "operators": build.operators,
        "taken": build.taken,
        "parts": build.parts,
        "refused": [asdict(each) for each in build.refused],
        "failure": build.failure,
        "compile_s": build.seconds,
        "size_bytes": None if content is None else len(content),
        "sha256": None if content is None else hashlib.sha256(content).hexdigest(),
        "tools": dict(build.tools),
        "emulation": None if emulation is None else _emulation(emulation),
    }


def _emulation(emulation: Emulation) -> dict[str, Any]:
    fidelity = emulation.fidelity
    return {
        "computed_by": emulation.computed_by,
        "seconds_per_photo": emulation.seconds_per_photo,
        "failure": emulation.invalid_output,
        "fidelity": None if fidelity is None else fidelity_summary(fidelity, emulated=True),
    }


def metadata_fidelity(fidelity: Fidelity | None, *, emulated: bool) -> dict[str, Any]:
    """Returns the fidelity as it is stored in the metadata of a .tflite file.

    Keys and values of the metadata never change, so that converted files stay reproducible.

    Args:
        fidelity: The measurement; None if the output is invalid.
        emulated: See `fidelity_summary`.
    """
    if fidelity is None:
        return {}
    return {
        "vs": fidelity.vs,
        "computed_by": "its rehearsal in float" if emulated else "the file",
        **_fidelity_figures(fidelity, [one for one in conversion_metrics() if one.in_metadata]),
        "images": len(fidelity.images),
    }


def _fidelity_figures(fidelity: Fidelity, metrics: Sequence[Metric]) -> dict[str, Any]:
    return {
        "protocol": fidelity.protocol,
        "border_px": PROTOCOLS[fidelity.protocol],
        "peak": 1.0,
        **psnr_summary(fidelity.psnr),
        **fidelity.figures(metrics),
        "max_abs_error": max(image.max_abs_error for image in fidelity.images),
    }


def psnr_summary(psnr: PsnrSummary) -> dict[str, Any]:
    """Returns the PSNR over several photos as JSON data."""
    return {
        "psnr_db_mean": finite_db(psnr.mean),
        "psnr_db_pooled": finite_db(psnr.pooled),
        "psnr_db_worst": finite_db(psnr.worst),
        "identical_images": psnr.identical_images,
    }


def empty_psnr_summary() -> dict[str, Any]:
    """Returns a `psnr_summary` without values, for an invalid output."""
    figures = ("psnr_db_mean", "psnr_db_pooled", "psnr_db_worst")
    return {**dict.fromkeys(figures), "identical_images": 0}


def tool_versions() -> dict[str, str]:
    """Returns the installed versions of the tools that make a file, by package name."""
    versions = {}
    for tool in _TOOLS:
        try:
            versions[tool] = version(tool)
        except PackageNotFoundError:
            versions[tool] = "not installed"
    return versions
