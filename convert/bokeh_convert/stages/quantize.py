"""Quantizes the float32 file with a scheme, after the search that it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from bokeh_convert.graph.cost_model import Precision
from bokeh_convert.graph.editor import Graph
from bokeh_convert.options import ConvertOptions
from bokeh_convert.passes import EQUALIZE_CHANNELS, GROUP_PIXELS
from bokeh_convert.passes.apply import PassResult
from bokeh_convert.passes.group_pixels import group_pixels
from bokeh_convert.progress import Steps
from bokeh_convert.quantize.engine import quantize
from bokeh_convert.quantize.equalized import EqualizedFile
from bokeh_convert.quantize.fp16_arithmetic import allow_fp16_arithmetic
from bokeh_convert.quantize.mixed_precision_files import (
    DynamicRange,
    MixedPrecision,
    StaticRange,
)
from bokeh_convert.quantize.mixed_precision_search import (
    SEARCH_PHOTOS,
    SearchResult,
    search_mixed_precision,
)
from bokeh_convert.quantize.schemes import SCHEMES, Scheme
from bokeh_convert.quantize.search_constraints import Trial
from bokeh_convert.stages.calibrate import Calibrated
from bokeh_convert.stages.half_precision import decide_half_precision
from bokeh_convert.stages.limits import search_constraints
from bokeh_convert.stages.photos import network_inputs
from bokeh_runtime.errors import InputError
from bokeh_runtime.metrics.psnr import psnr_text


@dataclass(frozen=True)
class Quantized:
    """The .tflite file of one scheme.

    Attributes:
        scheme: The scheme.
        content: The bytes of the file.
        passes: What each graph rewrite changed.
        search_result: The result of the mixed-precision search; None if the scheme has none.
        fp16_arithmetic: Whether ARM CPUs may compute in float16, if the scheme leaves that open;
            see `bokeh_convert.report.ConversionReport`.
    """

    scheme: Scheme
    content: bytes
    passes: Sequence[PassResult]
    search_result: SearchResult | None = None
    fp16_arithmetic: dict[str, Any] | None = None


def quantize_file(
    name: str, calibrated: Calibrated, options: ConvertOptions, steps: Steps
) -> Quantized:
    """Makes the file of one scheme.

    Args:
        name: Name of the scheme.
        calibrated: The float32 files.
        options: Arguments of the conversion.
        steps: Progress.

    Raises:
        InputError: If the scheme does not support an operator of the model.
    """
    scheme = SCHEMES[name]
    steps.begin(f"quantizing to {name}" if scheme.quantizes else f"writing {name}")
    with steps.timed("quantize_s"):
        if scheme.mixed_precision is not None:
            return _search(scheme, calibrated, options, steps)
        if scheme.calibration is not None:
            return _quantize_calibrated(scheme, calibrated, options)
        return _quantize_float(scheme, calibrated, options, steps)


def _quantize_float(
    scheme: Scheme, calibrated: Calibrated, options: ConvertOptions, steps: Steps
) -> Quantized:
    rewritten = calibrated.rewritten
    content, passes = quantize(rewritten.content, scheme), list(rewritten.passes)
    if not scheme.fp16_arithmetic:
        return Quantized(scheme, content, passes)
    half = decide_half_precision(content, rewritten.lowered.source, options, steps, quantized=False)
    if half.allowed:
        if GROUP_PIXELS not in options.left_out_passes:
            # The output stays the same, so the emulation of the file without it still holds.
            graph = Graph(rewritten.content)
            count = group_pixels(graph, Precision.HALF)
            passes.append(
                PassResult(GROUP_PIXELS, "convolutions that compute several pixels", count)
            )
            content = quantize(graph.to_bytes(), scheme)
        content = allow_fp16_arithmetic(content)
    return Quantized(scheme, content, passes, fp16_arithmetic=half.summary)


def _quantize_calibrated(
    scheme: Scheme, calibrated: Calibrated, options: ConvertOptions
) -> Quantized:
    try:
        if scheme.equalize:
            prepared = _needed(calibrated.equalized_lowered)
            content = quantize(prepared.content, scheme, prepared.ranges)
            return Quantized(scheme, content, _equalization(prepared, options))
        assert calibrated.statistics is not None
        ranges = calibrated.statistics.min_max()
        return Quantized(scheme, quantize(calibrated.rewritten.lowered.content, scheme, ranges), ())
    except InputError as error:
        raise InputError(f"{options.source}: ", error) from error


def _search(
    scheme: Scheme, calibrated: Calibrated, options: ConvertOptions, steps: Steps
) -> Quantized:
    prepared, rewritten = _needed(calibrated.equalized), calibrated.rewritten
    source = rewritten.lowered.source

    def on_trial(trial: Trial) -> None:
        latest = f"{psnr_text(trial.psnr_db_mean)} at {trial.cost_ratio:.2f} of float32's cost"
        steps.begin(f"mixed-precision search for {scheme.name}: {latest}")

    method: MixedPrecision
    # Where training has chosen the ranges, channels are not equalized.
    clipping = None if rewritten.without_clipping is None else rewritten.content
    if scheme.mixed_precision == "dynamic":
        method = DynamicRange(clipping or prepared.content, options.left_out_passes)
    else:
        rewritten = rewritten.for_int8
        method = StaticRange(prepared.content, prepared.ranges, options.left_out_passes)
    photos = list(network_inputs(source.dataset.calibration[:SEARCH_PHOTOS], source.sized))
    result = search_mixed_precision(
        method,
        photos,
        search_constraints(options),
        reference=clipping,
        full_curve=options.trade_off,
        ranges=source.sized.ranges,
        threads=options.threads,
        on_trial=on_trial,
    )
    content, summary = result.file.content, None
    if scheme.fp16_arithmetic:
        half = decide_half_precision(content, source, options, steps, quantized=True)
        if not half.allowed:
            assert isinstance(method, StaticRange)
            result = result.rebuilt(replace(method, half=False))
        content = result.file.content
        content, summary = allow_fp16_arithmetic(content) if half.allowed else content, half.summary
    passes = [
        *rewritten.passes,
        *_equalization(prepared, options),
        *result.file.passes,
    ]
    return Quantized(scheme, content, passes, result, summary)


def _needed(prepared: EqualizedFile | None) -> EqualizedFile:
    assert prepared is not None, "`calibrate` makes it for every scheme that needs it"
    return prepared


def _equalization(prepared: EqualizedFile, options: ConvertOptions) -> list[PassResult]:
    if EQUALIZE_CHANNELS in options.left_out_passes:
        return []
    changes = "activations with equalized channels"
    return [PassResult(EQUALIZE_CHANNELS, changes, prepared.equalized)]
