"""The numbers of `constants.json` and `nnapi.json`, typed: a key too many or too few is an error.

A number belongs here if another language has to have the same one. What only makes Python fast,
such as the rows of a strip, stays where it is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bokeh_runtime.contract import load


@dataclass(frozen=True)
class Prepare:
    """How a photo is scaled to the network's input.

    Attributes:
        resampling: Names of the ways to shrink. "area" is the mean over the covered area; "bicubic"
            is Pillow's, which rounds to 8 bits after each direction. Growing is always bicubic.
        bicubic_downscale_a: Keys' parameter where "bicubic" shrinks.
        bicubic_downscale_support_px: Reach of its kernel, in pixels of the result.
        bicubic_upscale_a: Keys' parameter where a picture grows, here and in `Join`.
    """

    resampling: tuple[str, ...]
    bicubic_downscale_a: float
    bicubic_downscale_support_px: int
    bicubic_upscale_a: float


@dataclass(frozen=True)
class Join:
    """How the network's output is joined with the photo at full size.

    Attributes:
        band_sigma_px: Detail is what a Gaussian of this width takes away.
        band_radius_px: Its kernel has `2 * band_radius_px + 1` taps; edges mirror, shown once.
        window_px: The neighbourhood over which detail is compared; edges mirror, shown twice.
        wide_window_px: The same, for places where the near neighbourhood is smooth.
        blurred_below: Share of the detail kept below which a place counts as blurred.
        in_focus_above: Share above which it counts as in focus; a smooth step lies between.
        noise: Mean squared detail that counts as nothing to compare.
        wide_noise: Added to the wide neighbourhood's, against a division by zero.
    """

    band_sigma_px: float
    band_radius_px: int
    window_px: int
    wide_window_px: int
    blurred_below: float
    in_focus_above: float
    noise: float
    wide_noise: float


@dataclass(frozen=True)
class GpuCheck:
    """How a GPU's output is judged; the rule is `backends.gpu_verdict.judge`.

    Attributes:
        version: Counted up when the rule changes, so that older verdicts do not hold any more.
        same_picture_db: PSNR between GPU and CPU from which both have the same picture. The
            app's int8 model must reach it against the full model to be the CPU's first choice.
        full_model_margin_db: How much further from the full model than the CPU a GPU may be.
        full_model_floor_db: PSNR to the full model under which that proves nothing.
        image_period_px: Of the test image's waves, for models without a reference: channel `i` is
            `mean + amplitude * sin(row / period + i) * cos((i + 1) * column / period)`.
        image_mean, image_amplitude: Of those waves, in 0 to 1.
    """

    version: int
    same_picture_db: float
    full_model_margin_db: float
    full_model_floor_db: float
    image_period_px: int
    image_mean: float
    image_amplitude: float


@dataclass(frozen=True)
class Benchmark:
    """How a model is timed, on the host and on a phone.

    Attributes:
        max_runs: Most timed runs, however short they are.
        warm_up_window_runs: Warming up ends when the medians of the last so many runs and of as
            many before differ little.
        warm_up_tolerance: By how much, as a fraction of the earlier.
    """

    max_runs: int
    warm_up_window_runs: int
    warm_up_tolerance: float


@dataclass(frozen=True)
class NnapiLevels:
    """Lowest Android API levels at which NNAPI takes an operator; None is never.

    From tensorflow/lite/delegates/nnapi/nnapi_delegate.cc, `Validate`. Of 8-bit files convolutions
    have a scale for each channel.

    Attributes:
        on_float: On float values.
        on_8_bits: On 8-bit values, or on floats with 8-bit weights.
    """

    on_float: int | None
    on_8_bits: int | None


def _prepare(values: dict[str, Any]) -> Prepare:
    return Prepare(**{**values, "resampling": tuple(values["resampling"])})


_CONSTANTS, _NNAPI = load("constants.json"), load("nnapi.json")
PREPARE = _prepare(_CONSTANTS["prepare"])
JOIN = Join(**_CONSTANTS["join"])
GPU_CHECK = GpuCheck(**_CONSTANTS["gpu_check"])
BENCHMARK = Benchmark(**_CONSTANTS["benchmark"])
LAST_ANDROID_WITH_NNAPI: int = _NNAPI["last_api_level"]
"""API level; the next, Android 15, deprecates NNAPI."""
NNAPI_OPERATORS = {name: NnapiLevels(**levels) for name, levels in _NNAPI["operators"].items()}
"""Operators that are not here are never taken."""
NNAPI_CONVERSIONS: dict[str, dict[str, int | None]] = _NNAPI["conversions"]
"""Lowest API level of QUANTIZE and DEQUANTIZE, by the type on their other side than float32."""
