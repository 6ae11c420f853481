"""What `convert` was asked for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.resample import RESAMPLING

SCHEME_NAMES = ("float32", "float16", "dynamic", "int8", "int16x8", "full-integer")
LEVELS = ("l5", "l4", "l3", "l2", "l1", "l0", "l_up")
"""PyNET's outputs, from 1/32 of the input's height (l5) over its own (l0) to twice that (l_up)."""
PASS_NAMES = ("instance-norm", "merge-convolutions")
"""Rewrites of the graph that can be left out; see `bokeh_convert.passes`."""
_SIZE_MULTIPLE = 32


@dataclass(frozen=True)
class ConvertOptions:
    """The arguments of one call of `bokeh_convert.convert`, which says what each of them means.

    Imports no TensorFlow: a wrong option is told before the seconds that TensorFlow takes.

    Attributes:
        source: The trained model's path.
        schemes: The argument `quant`, each scheme once.
        output_dir: Where the files go.
        photos: The argument `representative_dataset`.
        threads: Of the CPU.

    Raises:
        InputError: If an option is wrong by itself, or two exclude each other.
    """

    source: Path
    schemes: Sequence[str]
    output_dir: Path
    photos: Path | None
    samples: int
    seed: int
    size: tuple[int, int] | None
    min_psnr_db: float | None
    min_psnr_db_worst: float | None
    max_latency: float | None
    trade_off: bool
    level: str | None
    output_name: str | None
    width: float | None
    input_channels: int | None
    residual: bool | None
    custom_objects: Sequence[str]
    trust_source: bool
    resampling: str | None
    skip_passes: Sequence[str]
    threads: int

    def __post_init__(self) -> None:
        fault = next(self._faults(), None)
        if fault is not None:
            raise InputError(fault)

    def _faults(self) -> Iterator[str]:
        unknown = [name for name in self.schemes if name not in SCHEME_NAMES]
        if unknown or not self.schemes:
            yield f"--quant {','.join(unknown)}: choose from {', '.join(SCHEME_NAMES)}"
        for name in self.skip_passes:
            if name not in PASS_NAMES:
                yield f"--no-pass {name}: choose from {', '.join(PASS_NAMES)}"
        if self.size is not None and any(side <= 0 or side % _SIZE_MULTIPLE for side in self.size):
            height, width = self.size
            yield f"--size {height}x{width}: both must be multiples of {_SIZE_MULTIPLE}"
        for option, chosen, choices in (
            ("--level", self.level, LEVELS),
            ("--resampling", self.resampling, RESAMPLING),
        ):
            if chosen is not None and chosen not in choices:
                yield f"{option} {chosen}: choose from {', '.join(choices)}"
        for option, asked in (
            ("--min-psnr", self.min_psnr_db),
            ("--min-psnr-worst", self.min_psnr_db_worst),
        ):
            if asked is not None and not math.isfinite(asked):
                yield f"{option} {asked:g}: is no PSNR in dB; give a number such as 40"
        if self.level is not None and self.output_name is not None:
            yield "--level and --output-name both choose an output; give one of them"
        if self.max_latency is not None and not self.max_latency > 0:
            yield f"--max-latency {self.max_latency:g}: a ratio above 0, such as 0.5"
