"""The validated arguments of `convert`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bokeh_convert.npu.vendors import NpuTarget
from bokeh_convert.passes import OPTIONAL_PASS_NAMES, PASS_NAMES
from bokeh_convert.quantize.schemes import SCHEMES
from bokeh_convert.targets import Target
from bokeh_runtime.errors import Argument, InputError
from bokeh_runtime.imaging.resample import RESAMPLING
from bokeh_runtime.tflite.value_range import ValueRange

SCHEME_NAMES = tuple(SCHEMES)
"""Quantization schemes; see `bokeh_convert.quantize.schemes.SCHEMES`."""
LEVELS = ("l5", "l4", "l3", "l2", "l1", "l0", "l_up")
"""PyNET's outputs, from 1/32 of the input's height (l5) to the same (l0) and twice that (l_up)."""


@dataclass(frozen=True)
class NpuOptions:
    """For which NPUs the files are compiled, and what is done with the result.

    Attributes:
        targets: The NPUs.
        allow_partial: Whether a file is written of which the CPU has to run a part.
        photos: Number of verification photos to run on an emulator of the NPU; 0 for none.
    """

    targets: Sequence[NpuTarget] = ()
    allow_partial: bool = False
    photos: int = 0


@dataclass(frozen=True)
class ConvertOptions:
    """The arguments of one call of `bokeh_convert.convert`, where they are described.

    This module does not import TensorFlow, so that a wrong argument is reported at once and not
    after the seconds that the import takes.

    Attributes:
        schemes: The argument `quant` without duplicates, or what the targets run best.
        threads: CPU threads, at least 1.
        npu: The arguments about NPUs.

    Raises:
        InputError: If an argument is invalid, or two arguments exclude each other.
    """

    source: Path
    schemes: Sequence[str]
    output_dir: Path
    representative_dataset: Path | None
    samples: int
    seed: int
    size: tuple[int, int] | None
    min_psnr_db: float | None
    min_psnr_db_worst: float | None
    max_grain: float | None
    max_latency: float | None
    trade_off: bool
    level: str | None
    output_name: str | None
    width: float | None
    input_channels: int | None
    residual: bool | None
    custom_objects: Sequence[str]
    teacher: Path | None
    trust_source: bool
    resampling: str | None
    input_range: str | None
    output_range: str | None
    targets: Sequence[Target]
    extra_passes: Sequence[str]
    skip_passes: Sequence[str]
    threads: int
    npu: NpuOptions = field(default_factory=NpuOptions)

    @property
    def metric_limits(self) -> dict[str, float]:
        """Limits on the worst photo's value of metrics other than PSNR, by the metrics' keys."""
        return {} if self.max_grain is None else {"grain": self.max_grain}

    def __post_init__(self) -> None:
        error = next(self._errors(), None)
        if error is not None:
            raise error

    @property
    def requested_passes(self) -> frozenset[str]:
        """Names of the optional graph rewrites to apply."""
        needed = (name for target in self.targets for name in target.passes)
        return frozenset((*self.extra_passes, *needed)) - frozenset(self.skip_passes)

    @property
    def left_out_passes(self) -> frozenset[str]:
        """Names of the graph rewrites to leave out, on request or for the targets."""
        needless = [frozenset(target.without_passes) for target in self.targets]
        common = frozenset.intersection(*needless) if needless else frozenset()
        return common | frozenset(self.skip_passes)

    def _errors(self) -> Iterator[InputError]:
        if not self.schemes:
            yield InputError(Argument("quant"), f" is empty; choose from {_listed(SCHEME_NAMES)}")
        chosen = [
            *(("quant", name, SCHEME_NAMES) for name in self.schemes),
            *(("extra_passes", name, OPTIONAL_PASS_NAMES) for name in self.extra_passes),
            *(("skip_passes", name, PASS_NAMES) for name in self.skip_passes),
            ("level", self.level, LEVELS),
            ("resampling", self.resampling, RESAMPLING),
        ]
        for argument, value, choices in chosen:
            if value is not None and value not in choices:
                yield InputError(
                    Argument(argument, value), f" is unknown; choose from {_listed(choices)}"
                )
        if contrary := [name for name in self.extra_passes if name in self.skip_passes]:
            yield InputError(
                Argument("extra_passes", contrary[0]), " and ", Argument("skip_passes"),
                " ask for it and skip it; give only one of them",
            )  # fmt: skip
        if self.size is not None and min(self.size) <= 0:
            height, width = self.size
            yield InputError(
                Argument("size", self.size, f"{height}x{width}"),
                ": height and width must be positive",
            )
        yield from self._range_errors()
        for argument, limit in (
            ("min_psnr_db", self.min_psnr_db),
            ("min_psnr_db_worst", self.min_psnr_db_worst),
        ):
            if limit is not None and not math.isfinite(limit):
                yield InputError(
                    Argument(argument, limit), ": a PSNR limit must be a finite number, such as 40"
                )
        if self.max_grain is not None and not 0 <= self.max_grain < math.inf:
            yield InputError(
                Argument("max_grain", self.max_grain),
                " must be 0 or more, in units of 1/255, such as 0.5",
            )
        if self.level is not None and self.output_name is not None:
            yield InputError(
                Argument("level"), " and ", Argument("output_name"),
                " both select an output; give only one of them",
            )  # fmt: skip
        if self.npu.photos < 0:
            yield InputError(Argument("emulate_photos", self.npu.photos), " must be 0 or more")
        if self.npu.photos and not self.npu.targets:
            yield InputError(
                Argument("emulate_photos"), " runs files that are compiled for an NPU; give ",
                Argument("npu"), " too",
            )  # fmt: skip
        if self.max_latency is not None and not 0 < self.max_latency < math.inf:
            yield InputError(
                Argument("max_latency", self.max_latency), " must be a ratio above 0, such as 0.5"
            )

    def _range_errors(self) -> Iterator[InputError]:
        for name, text in (("input_range", self.input_range), ("output_range", self.output_range)):
            try:
                if text is not None:
                    ValueRange.parse(text)
            except InputError as error:
                yield InputError(Argument(name, text), ": ", error)


def _listed(choices: Sequence[str]) -> str:
    return ", ".join(choices)
