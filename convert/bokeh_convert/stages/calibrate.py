"""Measures activations on the calibration photos, and prepares the graphs for int8."""

from __future__ import annotations

from dataclasses import dataclass

from bokeh_convert.graph.editor import Graph
from bokeh_convert.options import ConvertOptions
from bokeh_convert.passes import EQUALIZE_CHANNELS
from bokeh_convert.progress import Steps
from bokeh_convert.quantize.activation_calibration import measure_activations
from bokeh_convert.quantize.activation_statistics import (
    ActivationStatistics,
    RangeStability,
    range_stability,
)
from bokeh_convert.quantize.equalized import EqualizedFile, convolution_activations, equalize
from bokeh_convert.quantize.schemes import SCHEMES
from bokeh_convert.stages.photos import network_inputs
from bokeh_convert.stages.rewrite import Rewritten
from bokeh_runtime.errors import Argument, InputError


@dataclass(frozen=True)
class Calibrated:
    """The float32 files with what calibration found out about their activations.

    Attributes:
        rewritten: The float32 files.
        equalized: The rewritten file for int8 convolutions; None if no scheme needs it.
        equalized_lowered: The file without rewrites for int8 in all operators; None likewise.
        statistics: Of all activations of the file without rewrites; None likewise.
        stability: How far the ranges depend on the photos; None if there was no calibration.
    """

    rewritten: Rewritten
    equalized: EqualizedFile | None = None
    equalized_lowered: EqualizedFile | None = None
    statistics: ActivationStatistics | None = None
    stability: RangeStability | None = None


def calibrate(rewritten: Rewritten, options: ConvertOptions, steps: Steps) -> Calibrated:
    """Measures the activations that the chosen schemes need.

    Raises:
        InputError: If there is nothing that a chosen scheme could quantize.
    """
    schemes = [SCHEMES[name] for name in options.schemes]
    if not any(scheme.needs_calibration for scheme in schemes):
        return Calibrated(rewritten)
    steps.begin("calibrating")
    equalized = equalized_lowered = statistics = stability = None
    for_int8 = rewritten.for_int8
    trained = for_int8.lowered.trained_ranges
    # Trained ranges are those of the channels as they are.
    skip = EQUALIZE_CHANNELS in options.left_out_passes or bool(trained)
    with steps.timed("calibrate_s"):
        if any(scheme.mixed_precision for scheme in schemes):
            names = convolution_activations(Graph(for_int8.content))
            if not names:
                raise InputError(
                    f"{options.source}: has no convolution, and only these become int8",
                    remedy=("choose ", Argument("quant"), " float16 or full-integer"),
                )
            found = _measure(for_int8.content, names, for_int8, options)
            equalized, stability = (
                equalize(for_int8.content, found, for_int8.trained_ranges, skip=skip),
                range_stability(found),
            )
        if any(scheme.calibration for scheme in schemes):
            statistics = found = _measure(rewritten.lowered.content, None, rewritten, options)
            stability = stability or range_stability(statistics)
            if any(scheme.calibration and scheme.equalize for scheme in schemes):
                if for_int8 is not rewritten:
                    found = _measure(for_int8.lowered.content, None, for_int8, options)
                equalized_lowered = equalize(for_int8.lowered.content, found, trained, skip=skip)
    steps.next()
    return Calibrated(rewritten, equalized, equalized_lowered, statistics, stability)


def _measure(
    content: bytes, names: set[str] | None, rewritten: Rewritten, options: ConvertOptions
) -> ActivationStatistics:
    source = rewritten.lowered.source
    inputs = network_inputs(source.dataset.calibration, source.sized)
    images = source.sized.ranges
    measured = measure_activations(content, inputs, images, names=names, threads=options.threads)
    return measured.with_input_copies(rewritten.input_copies)
