"""Quantizes the float32 file by a scheme; measures or searches what the scheme needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bokeh_convert.data.calibration_data import Sample, to_input
from bokeh_convert.options import ConvertOptions
from bokeh_convert.passes import MERGE_CONVOLUTIONS, PassResult
from bokeh_convert.progress import Steps
from bokeh_convert.quantize.activation_calibration import ActivationRanges, measure_ranges
from bokeh_convert.quantize.fp16_arithmetic import MIN_PSNR_DB, mark_half, rehearse_half
from bokeh_convert.quantize.mixed_precision_search import (
    SEARCH_PHOTOS,
    TARGET_DB,
    Budget,
    Plan,
    Trial,
    search,
)
from bokeh_convert.quantize.schemes import SCHEMES, Scheme, quantize
from bokeh_convert.report import no_psnr, psnr_summary
from bokeh_convert.sources.float_model import SizedModel
from bokeh_convert.stages.lower import Lowered
from bokeh_convert.stages.rewrite import Rewritten
from bokeh_convert.verify.verification import BrokenPictureError, sized_sample, verify
from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.photo import FloatImage
from bokeh_runtime.metrics.psnr import psnr_text
from bokeh_runtime.tflite.reference_pack import Reference


@dataclass(frozen=True)
class Quantized:
    """A .tflite file of one scheme.

    Attributes:
        scheme: By which it was quantized.
        content: The bytes of the file.
        passes: The rewrites of its graph.
        plan: Of a scheme that is planned, what the search found.
        half_precision: Of a float16 file, the decision on native half precision; see
            `bokeh_convert.report.ConversionReport`.
    """

    scheme: Scheme
    content: bytes
    passes: Sequence[PassResult]
    plan: Plan | None = None
    half_precision: dict[str, Any] | None = None


def budget_of(options: ConvertOptions) -> Budget:
    """Returns what the plan of int8 must keep to."""
    target = TARGET_DB if options.min_psnr_db is None else options.min_psnr_db
    return Budget(target, options.max_latency, options.min_psnr_db_worst)


def calibrate(lowered: Lowered, options: ConvertOptions, steps: Steps) -> ActivationRanges | None:
    """Measures the ranges of the activations; None if no scheme that was asked for needs them."""
    if not any(SCHEMES[name].calibrated for name in options.schemes):
        return None
    steps.begin("measuring ranges")
    with steps.timed("ranges_s"):
        inputs = _inputs(lowered.source.samples.calibration, lowered.source.sized)
        ranges = measure_ranges(lowered.content, inputs, threads=options.threads)
    steps.next()
    return ranges


def quantize_file(
    name: str,
    rewritten: Rewritten,
    ranges: ActivationRanges | None,
    options: ConvertOptions,
    steps: Steps,
) -> Quantized:
    """Makes the file of one scheme.

    Args:
        name: Of the scheme.
        rewritten: The float32 file.
        ranges: Of the activations, if any scheme needs them.
        options: Of the run.
        steps: Told of progress.

    Raises:
        InputError: If the scheme cannot hold the model.
    """
    scheme = SCHEMES[name]
    steps.begin(f"writing {name}" if name == "float32" else f"quantizing to {name}")
    with steps.timed("quantize_s"):
        if scheme.planned:
            return _planned(scheme, rewritten, options, steps)
        if scheme.calibrated:
            return _calibrated(scheme, rewritten.lowered, ranges, options)
        content, half = quantize(rewritten.content, scheme), None
        if name == "float16":
            reference = rewritten.lowered.source.reference
            content, half = _with_half_precision(content, reference, options, steps)
        return Quantized(scheme, content, rewritten.passes, half_precision=half)


def _calibrated(
    scheme: Scheme, lowered: Lowered, ranges: ActivationRanges | None, options: ConvertOptions
) -> Quantized:
    try:
        return Quantized(scheme, quantize(lowered.content, scheme, ranges), passes=())
    except InputError as error:
        raise InputError(f"{options.source}: {error}") from error


def _planned(
    scheme: Scheme, rewritten: Rewritten, options: ConvertOptions, steps: Steps
) -> Quantized:
    def on_trial(trial: Trial) -> None:
        drawn = f"{psnr_text(trial.psnr_db_mean)} at {trial.cost_ratio:.2f} of float32's cost"
        steps.begin(f"searching a plan for int8: {drawn}")

    source = rewritten.lowered.source
    photos = list(_inputs(source.samples.calibration[:SEARCH_PHOTOS], source.sized))
    merge = MERGE_CONVOLUTIONS not in options.skip_passes
    plan = search(
        rewritten.content,
        photos,
        budget_of(options),
        merge=merge,
        whole_curve=options.trade_off,
        threads=options.threads,
        on_trial=on_trial,
    )
    counted = "convolutions merged into another"
    merged = [PassResult(MERGE_CONVOLUTIONS, counted, plan.chosen.merged)] if merge else []
    return Quantized(scheme, plan.content, [*rewritten.passes, *merged], plan)


def _with_half_precision(
    content: bytes, reference: Reference, options: ConvertOptions, steps: Steps
) -> tuple[bytes, dict[str, Any]]:
    """Marks a file for native half precision if the rehearsal of that holds the picture."""
    steps.begin("rehearsing half precision")
    summary: dict[str, Any] = {**no_psnr(), "failure": None}
    holds = False
    try:
        fidelity, _ = verify(
            rehearse_half(content), reference, threads=options.threads, on_photo=lambda: None
        )
        holds = fidelity.psnr_db_worst >= MIN_PSNR_DB
        summary |= psnr_summary(fidelity.psnr)
    except BrokenPictureError as error:
        summary["failure"] = str(error)
    summary |= {"marked": holds, "min_psnr_db": MIN_PSNR_DB}
    return (mark_half(content) if holds else content), summary


def _inputs(samples: Sequence[Sample], sized: SizedModel) -> Iterator[FloatImage]:
    for sample in samples:
        yield to_input(sized_sample(sample, sized))
