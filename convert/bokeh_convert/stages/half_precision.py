"""Decides whether ARM CPUs may compute what is float in a file in float16."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bokeh_convert.options import ConvertOptions
from bokeh_convert.progress import Steps
from bokeh_convert.quantize.fp16_arithmetic import MIN_PSNR_DB, emulate_fp16_arithmetic
from bokeh_convert.report import empty_psnr_summary, psnr_summary
from bokeh_convert.stages.limits import asked_limits
from bokeh_convert.stages.read import Source
from bokeh_convert.verify.verification import (
    FidelityLimits,
    InvalidOutputError,
    compare_outputs,
    verify,
)
from bokeh_runtime.metrics import grain
from bokeh_runtime.metrics.psnr import finite_db

LOSS_DB = 0.5
"""PSNR that float16 arithmetic may cost a quantized file, mean and worst photo."""
GRAIN_GAIN = 0.05
"""Grain that it may add to the worst photo of a quantized file."""


@dataclass(frozen=True)
class HalfPrecision:
    """The decision.

    Attributes:
        allowed: Whether CPUs may compute in float16.
        summary: The decision as JSON data; see `bokeh_convert.report.ConversionReport`.
    """

    allowed: bool
    summary: dict[str, Any]


def decide_half_precision(
    content: bytes, source: Source, options: ConvertOptions, steps: Steps, *, quantized: bool
) -> HalfPrecision:
    """Allows float16 arithmetic if the image of its emulation is good enough.

    It also has to meet the limits that were asked for, against the same reference as the file.

    Args:
        content: The file.
        source: The verification photos.
        options: Arguments of the conversion.
        steps: Progress.
        quantized: Whether the file is quantized: it has an error of its own then, to which float16
            may add little. Any other file has to be within `MIN_PSNR_DB` of the full model, also
            where that has a teacher.
    """
    steps.begin("emulating float16 arithmetic")
    limits, allowed = _FLOAT_LIMITS, False
    summary: dict[str, Any] = {**empty_psnr_summary(), "failure": None, "shortfall": None}
    try:
        if quantized:
            limits = _limits_of(content, source, options)
        fidelity, outputs = verify(
            emulate_fp16_arithmetic(content),
            source.model_reference,
            source.sized.ranges,
            threads=options.threads,
            on_photo=lambda: None,
        )
        asked = asked_limits(options).shortfall(compare_outputs(outputs, source.reference))
        shortfall = limits.shortfall(fidelity) or asked
        allowed = shortfall is None
        summary |= {**psnr_summary(fidelity.psnr), "shortfall": shortfall}
    except InvalidOutputError as error:
        summary["failure"] = str(error)
    least_db = limits.psnr_db_worst
    summary |= {
        "allowed": allowed,
        "min_psnr_db": None if least_db is None else finite_db(least_db),
    }
    return HalfPrecision(allowed, summary)


_FLOAT_LIMITS = FidelityLimits(psnr_db_worst=MIN_PSNR_DB)


def _limits_of(content: bytes, source: Source, options: ConvertOptions) -> FidelityLimits:
    """Returns limits just below the fidelity of a file."""
    fidelity, _ = verify(
        content,
        source.model_reference,
        source.sized.ranges,
        threads=options.threads,
        on_photo=lambda: None,
    )
    grains = [image.values[grain.METRIC.key] for image in fidelity.images]
    worst = max((value for value in grains if value is not None), default=None)
    return FidelityLimits(
        psnr_db=fidelity.psnr_db_pooled - LOSS_DB,
        psnr_db_worst=fidelity.psnr_db_worst - LOSS_DB,
        worst={} if worst is None else {grain.METRIC.key: worst + GRAIN_GAIN},
    )
