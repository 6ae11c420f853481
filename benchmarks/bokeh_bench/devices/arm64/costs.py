"""Counts the instructions of convolutions on ARM kernels and compares them with the cost model."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bokeh_bench.devices.arm64.runner import ArmRunner
from bokeh_bench.report.tables import markdown_table
from bokeh_convert.graph.cost_model import TILE, Precision, convolution_cost
from bokeh_convert.quantize.engine import quantize_convolutions

_SMALL, _LARGE = (16, 24), (64, 96)
# Kernel size, input channels, output channels and image size, as in PyNET at several widths.
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
        precision: Precision of the computation.
        kernel: Height and width of the kernel.
        depth, filters: Number of input and of output channels.
        pixels: Number of output pixels.
        instructions: Measured instructions of one inference, including copying input and output.
        predicted: Instructions estimated by `bokeh_convert.graph.cost_model`, plus the cost of
            copying input and output, which is fitted to this run.
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
        """Relative error of the prediction."""
        return self.predicted / self.instructions - 1


def measure_costs(runner: ArmRunner, progress: Callable[[str], None]) -> list[CostRow]:
    """Counts the instructions of every probe in every precision.

    Raises:
        RuntimeError: If a probe does not run.
    """
    counted = []
    for precision in Precision:
        for kernel, depth, filters, size in PROBES:
            progress(f"{precision.value}: {kernel} x {kernel}, {depth} to {filters} channels")
            content = _convolution(kernel, depth, filters, size)
            if precision == Precision.DYNAMIC:
                content = quantize_convolutions(content, ())
            inputs = np.random.default_rng(0).integers(
                0, 256, (_PHOTOS, *size, depth), dtype=np.uint8
            )
            all_photos, first = (
                runner.run(content, part).instructions for part in (inputs, inputs[:1])
            )
            instructions = (all_photos - first) // (_PHOTOS - 1)
            pixels = math.prod(size)
            predicted = convolution_cost(precision, pixels, kernel, depth, filters)
            counted.append(
                CostRow(precision, kernel, depth, filters, pixels, instructions, predicted)
            )
    return [row for precision in Precision for row in _with_copy_costs(counted, precision)]


def fitted(rows: list[CostRow], precision: Precision) -> tuple[float, float]:
    """Fits the cost model: returns instructions per kernel tap, and per input channel of a tap."""
    chosen = [row for row in rows if row.precision == precision]
    matrix = []
    for row in chosen:
        taps = row.pixels * row.kernel**2 * math.ceil(row.filters / TILE[precision])
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
            row.precision, row.kernel, row.depth, row.filters, row.pixels, row.instructions,
            row.predicted + float(np.dot(values, per_value)),
        )
        for row, values in zip(chosen, copied, strict=True)
    ]  # fmt: skip


def table(rows: list[CostRow]) -> str:
    """Returns a Markdown table of the rows, and the fit of the cost model to them."""
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
        tap, channel = fitted(rows, precision)
        text += (
            f"\n\n{precision.value}: {tap:.2f} instructions per kernel tap, {channel:.2f} per "
            "input channel of a tap"
        )
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
