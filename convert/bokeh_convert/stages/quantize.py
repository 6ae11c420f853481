"""Quantizes the float32 file with a scheme, after the calibration or search that it needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bokeh_convert.data.calibration_data import Sample, to_network_input
from bokeh_convert.graph.cost_model import Precision
from bokeh_convert.graph.editor import Graph
from bokeh_convert.options import ConvertOptions
from bokeh_convert.passes import GROUP_PIXELS, MERGE_CONVOLUTIONS
from bokeh_convert.passes.apply import PassResult
from bokeh_convert.passes.group_pixels import group_pixels
from bokeh_convert.progress import Steps
from bokeh_convert.quantize.activation_calibration import ActivationRanges, measure_ranges
from bokeh_convert.quantize.engine import quantize
from bokeh_convert.quantize.fp16_arithmetic import (
    MIN_PSNR_DB,
    allow_fp16_arithmetic,
    emulate_fp16_arithmetic,
)
from bokeh_convert.quantize.mixed_precision_search import (
    DEFAULT_MIN_PSNR_DB,
    SEARCH_PHOTOS,
    SearchConstraints,
    SearchResult,
    Trial,
    search_mixed_precision,
)
from bokeh_convert.quantize.schemes import SCHEMES, Scheme
from bokeh_convert.report import empty_psnr_summary, psnr_summary
from bokeh_convert.sources.float_model import SizedModel
from bokeh_convert.stages.lower import Lowered
from bokeh_convert.stages.read import Source
from bokeh_convert.stages.rewrite import Rewritten
from bokeh_convert.verify.verification import InvalidOutputError, read_input_pixels, verify
from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.photo import FloatImage
from bokeh_runtime.metrics.psnr import psnr_text


@dataclass(frozen=True)
class Quantized:
    """The .tflite file of one scheme.

    Attributes:
        scheme: The scheme.
        content: The bytes of the file.
        passes: What each graph rewrite changed.
        search_result: The result of the mixed-precision search; None if the scheme has none.
        fp16_arithmetic: For float16, whether ARM CPUs may compute in float16; see
            `bokeh_convert.report.ConversionReport`.
    """

    scheme: Scheme
    content: bytes
    passes: Sequence[PassResult]
    search_result: SearchResult | None = None
    fp16_arithmetic: dict[str, Any] | None = None


def search_constraints(options: ConvertOptions) -> SearchConstraints:
    """Returns the limits on quality and cost for the mixed-precision search."""
    min_psnr_db = DEFAULT_MIN_PSNR_DB if options.min_psnr_db is None else options.min_psnr_db
    return SearchConstraints(min_psnr_db, options.max_latency, options.min_psnr_db_worst)


def calibrate(lowered: Lowered, options: ConvertOptions, steps: Steps) -> ActivationRanges | None:
    """Measures the activation ranges on the calibration photos.

    Returns:
        The ranges; None if none of the chosen schemes needs them.
    """
    if not any(SCHEMES[name].needs_calibration for name in options.schemes):
        return None
    steps.begin("calibrating")
    with steps.timed("calibrate_s"):
        inputs = _network_inputs(lowered.source.dataset.calibration, lowered.source.sized)
        ranges = measure_ranges(
            lowered.content, inputs, lowered.source.sized.ranges, threads=options.threads
        )
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
        name: Name of the scheme.
        rewritten: The float32 file.
        ranges: Activation ranges; None if no scheme needs them.
        options: Arguments of the conversion.
        steps: Progress.

    Raises:
        InputError: If the scheme does not support an operator of the model.
    """
    scheme = SCHEMES[name]
    steps.begin(f"quantizing to {name}" if scheme.quantizes else f"writing {name}")
    with steps.timed("quantize_s"):
        if scheme.mixed_precision:
            return _search(scheme, rewritten, options, steps)
        if scheme.needs_calibration:
            return _quantize_calibrated(scheme, rewritten.lowered, ranges, options)
        content = quantize(rewritten.content, scheme)
        if not scheme.fp16_arithmetic:
            return Quantized(scheme, content, rewritten.passes)
        source = rewritten.lowered.source
        content, summary = _decide_fp16_arithmetic(content, source, options, steps)
        passes = rewritten.passes
        if summary["allowed"] and GROUP_PIXELS not in options.skip_passes:
            content, grouped = _group_pixels(rewritten.content, scheme)
            passes = [*passes, grouped]
        return Quantized(scheme, content, passes, fp16_arithmetic=summary)


def _group_pixels(float32: bytes, scheme: Scheme) -> tuple[bytes, PassResult]:
    """Returns the float16 file for float16 arithmetic, whose kernels compute 16 channels at once.

    The rewrite does not change the output, so the emulation of the file without it still holds.
    """
    graph = Graph(float32)
    count = group_pixels(graph, Precision.HALF)
    content = allow_fp16_arithmetic(quantize(graph.to_bytes(), scheme))
    return content, PassResult(GROUP_PIXELS, "convolutions that compute several pixels", count)


def _quantize_calibrated(
    scheme: Scheme, lowered: Lowered, ranges: ActivationRanges | None, options: ConvertOptions
) -> Quantized:
    try:
        return Quantized(scheme, quantize(lowered.content, scheme, ranges), passes=())
    except InputError as error:
        raise InputError(f"{options.source}: ", error) from error


def _search(
    scheme: Scheme, rewritten: Rewritten, options: ConvertOptions, steps: Steps
) -> Quantized:
    def on_trial(trial: Trial) -> None:
        latest = f"{psnr_text(trial.psnr_db_mean)} at {trial.cost_ratio:.2f} of float32's cost"
        steps.begin(f"mixed-precision search for {scheme.name}: {latest}")

    source = rewritten.lowered.source
    photos = list(_network_inputs(source.dataset.calibration[:SEARCH_PHOTOS], source.sized))
    merge = MERGE_CONVOLUTIONS not in options.skip_passes
    result = search_mixed_precision(
        rewritten.content,
        photos,
        search_constraints(options),
        merge=merge,
        full_curve=options.trade_off,
        ranges=source.sized.ranges,
        threads=options.threads,
        on_trial=on_trial,
    )
    passes = list(rewritten.passes)
    if merge:
        changes, count = "convolutions merged into another", result.chosen.merged_convolutions
        passes.append(PassResult(MERGE_CONVOLUTIONS, changes, count))
    return Quantized(scheme, result.content, passes, result)


def _decide_fp16_arithmetic(
    content: bytes, source: Source, options: ConvertOptions, steps: Steps
) -> tuple[bytes, dict[str, Any]]:
    """Allows float16 arithmetic if the PSNR of its emulation is high enough.

    Returns:
        The file, and the decision as JSON data.
    """
    steps.begin("emulating float16 arithmetic")
    summary: dict[str, Any] = {**empty_psnr_summary(), "failure": None}
    allowed = False
    try:
        emulation = emulate_fp16_arithmetic(content)
        fidelity, _ = verify(
            emulation,
            source.reference,
            source.sized.ranges,
            threads=options.threads,
            on_photo=lambda: None,
        )
        allowed = fidelity.psnr_db_worst >= MIN_PSNR_DB
        summary |= psnr_summary(fidelity.psnr)
    except InvalidOutputError as error:
        summary["failure"] = str(error)
    summary |= {"allowed": allowed, "min_psnr_db": MIN_PSNR_DB}
    return (allow_fp16_arithmetic(content) if allowed else content), summary


def _network_inputs(samples: Sequence[Sample], sized: SizedModel) -> Iterator[FloatImage]:
    for sample in samples:
        yield to_network_input(read_input_pixels(sample, sized))
