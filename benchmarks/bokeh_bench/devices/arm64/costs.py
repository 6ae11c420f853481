"""Counts what convolutions cost on ARM kernels, beside what the cost model estimates."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bokeh_bench.devices.arm64.runner import ArmRunner
from bokeh_bench.report.tables import markdown_table
from bokeh_convert.graph.cost_model import TILE, Precision, convolution_cost
from bokeh_convert.quantize.schemes import quantize_convolutions

_SMALL, _LARGE = (16, 24), (64, 96)
# Kernel, channels of the input and of the result, size: PyNET's at several widths.
PROBES = (
    (3, 8, 8, _LARGE), (3, 12, 8, _LARGE), (3, 16, 16, _LARGE), (3, 32, 3, _LARGE),
    (3, 64, 16, _LARGE), (3, 128, 128, _SMALL), (5, 16, 16, _LARGE), (5, 64, 16, _LARGE),
    (7, 8, 8, _LARGE), (7, 32, 16, _LARGE), (9, 16, 16, _LARGE), (9, 32, 8, _LARGE),
    (9, 64, 32, _SMALL),
)  # fmt: skip
_PHOTOS = 5


@dataclass(frozen=True)
class CostRow:
    """One convolution.

    Attributes:
        instructions: Of one inference, what handing over the input and the result takes included.
        predicted: By `bokeh_convert.graph.cost_model`, and by the fit of this run for the
            handing over.
    """

    precision: Precision
    kernel: int
    depth: int
    filters: int
    pixels: int
    instructions: int
    predicted: float

    @property
    def error(self) -> float:
        return self.predicted / self.instructions - 1


def measure_costs(runner: ArmRunner, say: Callable[[str], None]) -> list[CostRow]:
    """Counts the instructions of every probe in every precision."""
    counted = []
    for precision in Precision:
        for kernel, depth, filters, size in PROBES:
            say(f"{precision.value}: {kernel} x {kernel}, {depth} to {filters} channels")
            content = _convolution(kernel, depth, filters, size)
            if precision == Precision.DYNAMIC:
                content = quantize_convolutions(content, ())
            inputs = np.random.default_rng(0).integers(
                0, 256, (_PHOTOS, *size, depth), dtype=np.uint8
            )
            every, first = (runner.run(content, part).instructions for part in (inputs, inputs[:1]))
            instructions = (every - first) // (_PHOTOS - 1)
            pixels = math.prod(size)
            predicted = convolution_cost(precision, pixels, kernel, depth, filters)
            counted.append(
                CostRow(precision, kernel, depth, filters, pixels, instructions, predicted)
            )
    return [row for precision in Precision for row in _with_ends(counted, precision)]


def fitted(rows: list[CostRow], precision: Precision) -> tuple[float, float]:
    """Returns instructions for each place of a kernel, and for each of its input channels."""
    chosen = [row for row in rows if row.precision == precision]
    matrix = []
    for row in chosen:
        places = row.pixels * row.kernel**2 * math.ceil(row.filters / TILE[precision])
        ends = (row.pixels * row.depth, row.pixels * row.filters)
        matrix.append([places, places * row.depth, *ends])
    weights = 1 / np.array([row.instructions for row in chosen])
    solution, *_ = np.linalg.lstsq(matrix * weights[:, None], np.ones(len(chosen)), rcond=None)
    return float(solution[0]), float(solution[1])


def _with_ends(rows: list[CostRow], precision: Precision) -> list[CostRow]:
    """Adds to the predictions what the input and the result of a lone convolution cost a value."""
    chosen = [row for row in rows if row.precision == precision]
    ends = [[row.pixels * row.depth, row.pixels * row.filters] for row in chosen]
    weights = 1 / np.array([row.instructions for row in chosen])
    left = np.array([row.instructions - row.predicted for row in chosen])
    a_value, *_ = np.linalg.lstsq(np.array(ends) * weights[:, None], left * weights, rcond=None)
    return [
        CostRow(
            row.precision, row.kernel, row.depth, row.filters, row.pixels, row.instructions,
            row.predicted + float(np.dot(end, a_value)),
        )
        for row, end in zip(chosen, ends, strict=True)
    ]  # fmt: skip


def table(rows: list[CostRow]) -> str:
    """Returns a Markdown table of the rows, and the fit of this run."""
    text = markdown_table(
        (
            *("precision", "kernel", "channels", "pixels"),
            *("thousand instructions", "predicted", "error"),
        ),
        [
            (
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
        text_columns=3,
    )
    for precision in Precision:
        place, channel = fitted(rows, precision)
        text += f"\n\n{precision.value}: {place:.2f} a place, {channel:.2f} a channel of it"
    return text


def _convolution(kernel: int, depth: int, filters: int, size: tuple[int, int]) -> bytes:
    import tensorflow as tf

    rng = np.random.default_rng(0)
    weights = rng.normal(size=(kernel, kernel, depth, filters)).astype(np.float32)
    bias = rng.normal(size=filters).astype(np.float32)

    @tf.function(input_signature=[tf.TensorSpec((1, *size, depth))])  # type: ignore[untyped-decorator]
    def convolve(photo: object) -> object:
        return tf.nn.conv2d(photo, weights, 1, "SAME") + bias

    concrete = convolve.get_concrete_function()
    return bytes(tf.lite.TFLiteConverter.from_concrete_functions([concrete], convolve).convert())
