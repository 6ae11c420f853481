"""Counts the instructions of operators on ARM kernels and compares them with the cost model."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bokeh_bench.devices.arm64 import probes
from bokeh_bench.devices.arm64.runner import ArmRunner
from bokeh_bench.report.tables import markdown_table
from bokeh_convert.graph.cost_model import TILE, Precision, convolution_cost

_SMALL, _LARGE = (16, 24), (64, 96)
# Kernel size, input channels, output channels and image size, as in PyNET at several widths.
PROBES = (
    (3, 8, 8, _LARGE), (3, 12, 8, _LARGE), (3, 16, 16, _LARGE), (3, 32, 3, _LARGE),
    (3, 64, 16, _LARGE), (3, 128, 128, _SMALL), (5, 16, 16, _LARGE), (5, 64, 16, _LARGE),
    (7, 8, 8, _LARGE), (7, 32, 16, _LARGE), (9, 16, 16, _LARGE), (9, 32, 8, _LARGE),
    (9, 64, 32, _SMALL),
)  # fmt: skip
_PHOTOS = 5


_OPERATOR_SIZE, _OPERATOR_DEPTH = (32, 48), 16


@dataclass(frozen=True)
class CostRow:
    """One convolution.

    Attributes:
        profile: Name of the CPU.
        precision: Precision of the computation.
        kernel: Height and width of the kernel.
        depth, filters: Number of input and of output channels.
        pixels: Number of output pixels.
        instructions: Measured instructions of one inference, including copying input and output.
        predicted: Instructions estimated by `bokeh_convert.graph.cost_model`, plus the cost of
            copying input and output, which is fitted to this run.
    """

    profile: str
    precision: Precision
    kernel: int
    depth: int
    filters: int
    pixels: int
    instructions: int
    predicted: float

    @property
    def error(self) -> float:
        """Relative error of the prediction."""
        return self.predicted / self.instructions - 1


@dataclass(frozen=True)
class OperatorRow:
    """One operator other than a convolution, or a pair of them.

    Attributes:
        profile: Name of the CPU.
        operator: Name of the operator.
        precision: Precision of the computation.
        per_value: Instructions for each value of the output.
    """

    profile: str
    operator: str
    precision: Precision
    per_value: float


def measure_costs(runner: ArmRunner, progress: Callable[[str], None]) -> list[CostRow]:
    """Counts the instructions of every convolution in every precision.

    Raises:
        RuntimeError: If a probe does not run.
    """
    counted = []
    for precision in Precision:
        for kernel, depth, filters, size in PROBES:
            progress(f"{precision.value}: {kernel} x {kernel}, {depth} to {filters} channels")
            content = probes.made(precision, probes.convolution(kernel, depth, filters, size))
            instructions = _instructions(runner, content, (*size, depth))
            pixels = math.prod(size)
            predicted = convolution_cost(precision, pixels, kernel, depth, filters)
            counted.append(
                CostRow(
                    runner.profile.name, precision, kernel, depth, filters, pixels, instructions,
                    predicted,
                )
            )  # fmt: skip
    return [row for precision in Precision for row in _with_copy_costs(counted, precision)]


def measure_operators(runner: ArmRunner, progress: Callable[[str], None]) -> list[OperatorRow]:
    """Counts the instructions of the other operators, as the difference to a file without them.

    Raises:
        RuntimeError: If a probe does not run.
    """
    shape = (*_OPERATOR_SIZE, _OPERATOR_DEPTH)
    rows = []
    for precision in (Precision.FLOAT32, Precision.STATIC, Precision.HALF):

        def count(content: bytes) -> int:
            return _instructions(runner, content, shape)

        def file(name: str | None, precision: Precision = precision) -> bytes:
            return probes.made(precision, probes.operator(name, _OPERATOR_SIZE, _OPERATOR_DEPTH))

        def row(name: str, instructions: int, precision: Precision = precision) -> OperatorRow:
            per_value = round(instructions / math.prod(shape), 2)
            return OperatorRow(runner.profile.name, name, precision, per_value)

        alone = count(file(None))
        for name in probes.OPERATORS:
            progress(f"{precision.value}: {name}")
            rows.append(row(name, count(file(name)) - alone))
        if precision == Precision.FLOAT32:
            quantized = count(probes.quantized_output(file(None)))
            rows.append(row("QUANTIZE, DEQUANTIZE", quantized - alone, Precision.STATIC))
    return rows


def _instructions(runner: ArmRunner, content: bytes, shape: tuple[int, ...]) -> int:
    """Returns the instructions of one inference, without those of starting the process."""
    inputs = np.random.default_rng(0).integers(0, 256, (_PHOTOS, *shape), dtype=np.uint8)
    all_photos, first = (runner.run(content, part).instructions for part in (inputs, inputs[:1]))
    return (all_photos - first) // (_PHOTOS - 1)


def fitted(rows: list[CostRow], precision: Precision) -> tuple[float, float]:
    """Fits the cost model: returns instructions per kernel tap, and per input channel of a tap."""
    chosen = [row for row in rows if row.precision == precision]
    matrix = []
    for row in chosen:
        tiles = row.pixels * math.ceil(row.filters / TILE[precision])
        taps = tiles * row.kernel**2
        copied = (row.pixels * row.depth, row.pixels * row.filters)
        matrix.append([taps, taps * row.depth, *copied])
    weights = 1 / np.array([row.instructions for row in chosen])
    solution, *_ = np.linalg.lstsq(matrix * weights[:, None], np.ones(len(chosen)), rcond=None)
    return float(solution[0]), float(solution[1])


def _with_copy_costs(rows: list[CostRow], precision: Precision) -> list[CostRow]:
    """Adds the cost of copying input and output values to the predictions, fitted to the rows."""
    chosen = [row for row in rows if row.precision == precision]
    copied = [[row.pixels * row.depth, row.pixels * row.filters] for row in chosen]
    weights = 1 / np.array([row.instructions for row in chosen])
    residual = np.array([row.instructions - row.predicted for row in chosen])
    per_value, *_ = np.linalg.lstsq(
        np.array(copied) * weights[:, None], residual * weights, rcond=None
    )
    return [
        CostRow(
            row.profile, row.precision, row.kernel, row.depth, row.filters, row.pixels,
            row.instructions, row.predicted + float(np.dot(values, per_value)),
        )
        for row, values in zip(chosen, copied, strict=True)
    ]  # fmt: skip


def table(rows: list[CostRow]) -> str:
    """Returns a Markdown table of the rows, and the fit of the cost model to them."""
    text = markdown_table(
        (
            *("CPU", "precision", "kernel", "channels", "pixels"),
            *("thousand instructions", "predicted", "error"),
        ),
        [
            (
                row.profile,
                row.precision.value,
                f"{row.kernel} x {row.kernel}",
                f"{row.depth} to {row.filters}",
                str(row.pixels),
                f"{row.instructions / 1e3:.0f}",
                f"{row.predicted / 1e3:.0f}",
                f"{row.error:+.0%}",
            )
            for row in rows
        ],
        text_columns=4,
    )
    for profile in dict.fromkeys(row.profile for row in rows):
        for precision in Precision:
            tap, channel = fitted([row for row in rows if row.profile == profile], precision)
            text += (
                f"\n\n{profile}, {precision.value}: {tap:.2f} instructions per kernel tap, "
                f"{channel:.2f} per input channel of a tap"
            )
    return text


def operator_table(rows: list[OperatorRow]) -> str:
    """Returns a Markdown table of instructions per value."""
    return markdown_table(
        ("CPU", "operator", "precision", "instructions per value"),
        [(row.profile, row.operator, row.precision.value, f"{row.per_value:.2f}") for row in rows],
        text_columns=3,
    )
