"""Holds a GPU's picture against the CPU's, once for each model, device and driver.

The rule is in `gpu_verdict`; here is what it is applied to, and what is remembered.

GPUs may compute in half precision, which can lose a picture (sums that overflow, an epsilon that
vanishes), and a driver may be wrong in silence.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from platformdirs import user_cache_path

from bokeh_runtime.atomic_output import AtomicOutput
from bokeh_runtime.backends.accelerator import AcceleratedModel
from bokeh_runtime.backends.accelerator_log import Device
from bokeh_runtime.backends.gpu_verdict import Evidence, Verdict, judge
from bokeh_runtime.backends.interpreter import TfliteModel
from bokeh_runtime.backends.vulkan import driver_identity
from bokeh_runtime.contract.constants import GPU_CHECK
from bokeh_runtime.errors import Argument, HardwareError, InputError
from bokeh_runtime.imaging.photo import FloatImage, to_unit
from bokeh_runtime.metrics.psnr import psnr
from bokeh_runtime.tflite.file import TfliteFile
from bokeh_runtime.tflite.metadata import metadata_of
from bokeh_runtime.tflite.reference_pack import find_reference, find_reference_path
from bokeh_runtime.tflite.value_range import ImageRanges


def check(
    file: TfliteFile,
    model: AcceleratedModel,
    in_float32: Callable[[], AcceleratedModel],
    threads: int,
    *,
    ranges: ImageRanges,
    allow_partial: bool,
) -> tuple[AcceleratedModel, str, str]:
    """Returns the model that draws the right picture, its precision, and a note ("" if none).

    The picture is the first of the reference pack beside the file, else a drawn one. Whatever goes
    wrong, `model` is closed.

    Args:
        file: The model's file.
        model: As the GPU runs it by default.
        in_float32: Opens it without half precision.
        threads: Of the CPU.
        ranges: Value ranges of the network's input and output.
        allow_partial: Whether the CPU may have been left a part.

    Raises:
        InputError: If the pack cannot be read, or the CPU's picture is not finite.
        HardwareError: If the GPU draws a wrong picture in float32 too, none of its own, or in part
            without permission.
    """
    try:
        key = _key(file, model.device, ranges, allow_partial=allow_partial)
        precision = None if key is None else _cached(key)
        if precision is None:
            model, precision = _judged(
                file, model, in_float32, threads, ranges=ranges, allow_partial=allow_partial
            )
            if key is not None:
                _remember(key, precision)
        elif precision == "float32":
            model.close()
            model = in_float32()
    except BaseException:
        model.close()
        raise
    note = "half precision draws a wrong picture on this GPU; it runs in float32"
    return model, precision, note if precision == "float32" else ""


def _judged(
    file: TfliteFile,
    model: AcceleratedModel,
    in_float32: Callable[[], AcceleratedModel],
    threads: int,
    *,
    ranges: ImageRanges,
    allow_partial: bool,
) -> tuple[AcceleratedModel, str]:
    image, full = _picture(file)
    by_cpu = TfliteModel(file.content, threads=threads, name=str(file.path), ranges=ranges)
    expected = by_cpu.run(image)
    by_cpu.close()
    if not np.isfinite(expected).all():
        raise InputError(f"{file.path}: draws NaN or infinity on the CPU; convert it again")

    def verdict_on(model: AcceleratedModel) -> tuple[Verdict, Evidence]:
        evidence = _evidence(file, model, model.run(image), expected, full, allow_partial)
        return judge(evidence), evidence

    verdict, evidence = verdict_on(model)
    if verdict.accepted:
        return model, "default"
    if not verdict.retry_in_float32:
        raise _refusal(file, model.device, verdict, evidence)
    model.close()
    model = in_float32()
    try:
        verdict, evidence = verdict_on(model)
        if not verdict.accepted:
            raise _refusal(file, model.device, verdict, evidence)
    except BaseException:
        model.close()
        raise
    return model, "float32"


def _evidence(
    file: TfliteFile,
    model: AcceleratedModel,
    output: FloatImage,
    expected: FloatImage,
    full: FloatImage | None,
    allow_partial: bool,
) -> Evidence:
    finite = bool(np.isfinite(output).all())
    comparable = full is not None and full.shape == expected.shape
    return Evidence(
        finite=finite,
        identical=np.array_equal(output, expected),
        gpu_vs_cpu_db=_distance(output, expected) if finite else None,
        gpu_vs_full_model_db=_distance(output, full) if finite and comparable else None,
        cpu_vs_full_model_db=_distance(expected, full) if comparable else None,
        float_sums=any(operator.name == "CONV_2D" for operator in file.operators),
        delegated_ops=model.delegated_ops,
        total_ops=len(file.operators),
        allow_partial=allow_partial,
    )


def _distance(image: FloatImage, reference: FloatImage | None) -> float | None:
    if reference is None:
        return None
    return psnr(np.clip(image, 0, 1), np.clip(reference, 0, 1), border_px=0)


def _refusal(
    file: TfliteFile, device: Device, verdict: Verdict, evidence: Evidence
) -> HardwareError:
    """Returns why a GPU is refused."""
    if verdict is Verdict.IDENTICAL:
        why = f"the output is bit-identical to the CPU's, so the model did not run on {device.name}"
    elif verdict is Verdict.PARTIAL:
        count = "unknown" if evidence.delegated_ops is None else evidence.delegated_ops
        why = f"{device.name} runs {count} of {evidence.total_ops} operators"
    else:
        distance = evidence.gpu_vs_cpu_db
        how = "NaN or infinity" if distance is None else f"{distance:.1f} dB PSNR against the CPU's"
        why = f"the output of {device.name} is wrong, in float32 too ({how})"
    return HardwareError(f"{file.path}: {why}", remedy=("use ", Argument("delegate", "cpu")))


def _picture(file: TfliteFile) -> tuple[FloatImage, FloatImage | None]:
    metadata = metadata_of(file)
    reference = find_reference(file.path, metadata)
    shape = file.tensors[file.inputs[0]].shape[1:]
    if reference is not None and reference.inputs[0].shape == shape:
        source = metadata.source.get("sha256") if metadata else None
        if source and reference.source_sha256 and source != reference.source_sha256:
            return to_unit(reference.inputs[0]), None  # another model's pictures
        return to_unit(reference.inputs[0]), reference.outputs[0]
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]] / GPU_CHECK.image_period_px
    waves = [np.sin(rows + i) * np.cos(columns * (i + 1)) for i in range(shape[2])]
    image = GPU_CHECK.image_mean + GPU_CHECK.image_amplitude * np.dstack(waves)
    return image.astype(np.float32), None


def _key(
    file: TfliteFile, device: Device, ranges: ImageRanges, *, allow_partial: bool
) -> str | None:
    """Returns what a verdict depends on; None where the driver's version is not known.

    A verdict that may be of another driver proves nothing, so it is not kept then.
    """
    driver = driver_identity(device.name) if device.backend == "Vulkan" else None
    if driver is None:
        return None
    pack = find_reference_path(file.path, metadata_of(file))
    return json.dumps(
        {
            "check": asdict(GPU_CHECK),
            "model": file.sha256,
            "reference": None if pack is None else hashlib.sha256(pack.read_bytes()).hexdigest(),
            "device": device.name,
            "driver": driver,
            "litert": _litert_version(),
            "allow_partial": allow_partial,
            "ranges": [str(ranges.input), str(ranges.output)],
        }
    )


def _cache() -> Path:
    return user_cache_path("bokeh-tflite", appauthor=False) / "gpu_checks.json"


def _entries() -> dict[str, str]:
    try:
        entries = json.loads(_cache().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return entries if isinstance(entries, dict) else {}


def _cached(key: str) -> str | None:
    entry = _entries().get(key)
    return entry if entry in ("default", "float32") else None


def _remember(key: str, precision: str) -> None:
    # Without a home to write to, the check is made each time.
    with contextlib.suppress(InputError), AtomicOutput(_cache().parent) as staging:
        text = json.dumps({**_entries(), key: precision}, indent=1)
        staging.path(_cache().name).write_text(text, encoding="utf-8")
        staging.commit()


def _litert_version() -> str:
    try:
        return version("ai-edge-litert")
    except PackageNotFoundError:
        return "unknown"
