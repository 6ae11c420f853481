"""Adds the metadata to each file, and writes all files of a run together."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bokeh_convert.graph.delegate_compatibility import gpu_objections, operator_compatibility
from bokeh_convert.graph.op_inventory import count_operators
from bokeh_convert.graph.target_support import target_support
from bokeh_convert.options import ConvertOptions
from bokeh_convert.progress import Steps
from bokeh_convert.quantize.mixed_precision_search import SEARCH_PHOTOS, SearchResult
from bokeh_convert.quantize.schemes import Scheme
from bokeh_convert.quantize.search_constraints import SearchConstraints
from bokeh_convert.report import (
    ConversionReport,
    fidelity_summary,
    npu_summary,
    tool_versions,
)
from bokeh_convert.result import Conversion
from bokeh_convert.stages.calibrate import Calibrated
from bokeh_convert.stages.compile import CompiledFile, NpuResult
from bokeh_convert.stages.complete import output_size, provenance_of
from bokeh_convert.stages.limits import search_constraints
from bokeh_convert.stages.read import Source
from bokeh_convert.stages.verify import Verified
from bokeh_convert.targets import targets
from bokeh_convert.verify.comparison import save_comparison
from bokeh_convert.verify.trade_off import save_trade_off
from bokeh_runtime.atomic_output import AtomicOutput
from bokeh_runtime.metrics.fidelity import Fidelity
from bokeh_runtime.tflite.reference_pack import EmulatedOutputs, save_reference


def write_files(
    compiled: Sequence[CompiledFile],
    calibrated: Calibrated,
    options: ConvertOptions,
    staging: AtomicOutput,
    steps: Steps,
) -> list[Conversion]:
    """Writes the files, those for NPUs, their reports, the reference pack and the pictures.

    A file that an NPU runs in part only is left out, unless that was allowed.

    Raises:
        InputError: If writing fails; no file is changed then.
    """
    source = calibrated.rewritten.lowered.source
    names, folder = source.names, options.output_dir
    pack = _write_reference(staging.path(names.reference), source, _emulated(compiled))
    conversions = []
    for each in compiled:
        file, content = each.completed.judged, each.completed.content
        report = _describe(each, calibrated, pack, options)
        quantized = file.verified.quantized
        scheme, result = quantized.scheme.name, quantized.search_result
        report_name = names.report(scheme, passed=file.passed)
        staging.path(report.file).write_bytes(content)
        staging.path(report_name).write_text(report.to_json(), encoding="utf-8")
        npu_paths = []
        for made in each.npus:
            if made.is_written(allow_partial=options.npu.allow_partial):
                assert made.build.content is not None
                name = names.npu(scheme, made.build.npu.file_part)
                staging.path(name).write_bytes(made.build.content)
                npu_paths.append(folder / name)
        if result is not None and options.trade_off:
            constraints = search_constraints(options)
            save_trade_off(staging.path(names.trade_off(scheme)), result, constraints)
        conversions.append(
            Conversion(
                folder / report.file,
                folder / report_name,
                folder / names.reference,
                folder / names.comparison,
                report,
                npu_paths,
            )
        )
    files = [each.completed.judged for each in compiled]
    columns = [
        (file.verified.quantized.scheme.name, file.verified.outputs)
        for file in files
        if file.verified.outputs
    ]
    save_comparison(staging.path(names.comparison), source.reference, columns)
    steps.begin("writing the files")
    staging.commit()
    return conversions


def _emulated(compiled: Sequence[CompiledFile]) -> list[EmulatedOutputs]:
    return [
        EmulatedOutputs(
            f"{each.completed.judged.verified.quantized.scheme.name}_{made.build.npu.file_part}",
            made.emulation.computed_by,
            made.emulation.outputs,
        )
        for each in compiled
        for made in each.npus
        if made.emulation is not None and made.emulation.outputs
    ]


def _write_reference(
    path: Path, source: Source, emulated: Sequence[EmulatedOutputs]
) -> dict[str, Any]:
    """Writes the reference pack, and returns the entry `reference` of the reports."""
    save_reference(path, source.reference, emulated)
    # With the hash, because another run into this folder may replace the pack.
    return {
        "file": source.names.reference,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "photos_sha256": [sample.sha256 for sample in source.dataset.verification],
    }


def _describe(
    compiled: CompiledFile, calibrated: Calibrated, pack: dict[str, Any], options: ConvertOptions
) -> ConversionReport:
    """Returns the report on a file."""
    file, content = compiled.completed.judged, compiled.completed.content
    verified, quantized = file.verified, file.verified.quantized
    rewritten = calibrated.rewritten
    source = rewritten.lowered.source
    sized, scheme = source.sized, quantized.scheme
    rows = operator_compatibility(content)
    judged_for = options.targets or targets().values()
    return ConversionReport(
        file=source.names.tflite(scheme.name, passed=file.passed),
        scheme=scheme.name,
        passed=file.passed,
        failure=file.failure,
        min_psnr_db=file.limits.psnr_db,
        min_psnr_db_worst=file.limits.psnr_db_worst,
        max_grain=file.limits.worst.get("grain"),
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        timings=dict(verified.timings),
        source=provenance_of(sized.model),
        input={
            "height": sized.height,
            "width": sized.width,
            "channels": compiled.completed.metadata.input_channels,
        },
        output={"name": sized.output_name, **output_size(source)},
        calibration=_calibration(calibrated, scheme, options),
        mixed_precision=_mixed_precision(quantized.search_result, search_constraints(options)),
        reference=pack,
        skipped_photos=[
            {"photo": photo.name, "cause": cause} for photo, cause in source.dataset.skipped
        ],
        passes=[asdict(result) for result in (*rewritten.requested_passes, *quantized.passes)],
        fp16_arithmetic=quantized.fp16_arithmetic,
        fidelity=_fidelity(verified.fidelity, verified),
        teacher=None if source.teacher is None else provenance_of(source.teacher.model),
        own_fidelity=_fidelity(verified.own_fidelity, verified),
        operators=count_operators(content),
        gpu_unsupported_ops=gpu_objections(rows),
        delegate_compatibility=[asdict(row) for row in rows],
        targets=[asdict(support) for support in target_support(content, judged_for)],
        npu=[_npu(made, source, scheme, options) for made in compiled.npus],
        tools=tool_versions(),
        notes=[*source.notes, *_calibration_notes(calibrated, scheme)],
    )


def _npu(
    made: NpuResult, source: Source, scheme: Scheme, options: ConvertOptions
) -> dict[str, Any]:
    written = made.is_written(allow_partial=options.npu.allow_partial)
    name = source.names.npu(scheme.name, made.build.npu.file_part) if written else None
    return npu_summary(made.build, name, made.emulation)


def _fidelity(fidelity: Fidelity | None, verified: Verified) -> dict[str, Any] | None:
    if fidelity is None:
        return None
    return fidelity_summary(fidelity, emulated=verified.emulated)


def _mixed_precision(
    result: SearchResult | None, constraints: SearchConstraints
) -> dict[str, Any] | None:
    if result is None:
        return None
    return {"constraints": constraints.summary(), **result.summary()}


def _calibration(
    calibrated: Calibrated, scheme: Scheme, options: ConvertOptions
) -> dict[str, Any] | None:
    """Returns which photos the calibration used, and how far its ranges depend on them."""
    if not scheme.needs_calibration:
        return None
    dataset, stability = calibrated.rewritten.lowered.source.dataset, calibrated.stability
    assert stability is not None
    samples = dataset.calibration
    return {
        "dataset": dataset.origin,
        "depth": dataset.depth,
        "count": len(samples),
        "search_count": min(SEARCH_PHOTOS, len(samples)) if scheme.mixed_precision else 0,
        "seed": options.seed,
        "photos": [sample.photo.name for sample in samples],
        "photos_sha256": [sample.sha256 for sample in samples],
        "ranges": {
            "halves_differ": _rounded(stability.halves_differ),
            "photos_differ": _rounded(stability.photos_differ),
        },
    }


def _calibration_notes(calibrated: Calibrated, scheme: Scheme) -> list[str]:
    stability = calibrated.stability
    if stability is None or stability.warning is None or not scheme.needs_calibration:
        return []
    return [stability.warning]


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 4)
