"""The plots of the HTML report, as SVG in two widths: for desktop and for phone screens."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bokeh_bench.measure.rows import Row
from bokeh_runtime.metrics.psnr import psnr_text

WIDTHS = (9.0, 4.2)  # inches
_INK, _CURRENT = "#010203", "currentColor"
"""Plots use the placeholder color, which becomes the page's text color in light or dark mode."""
_COLORS = ("#3b7dd8", "#d9822b", "#2a9d5c", "#b5509c", "#8a6fd1", "#c0392b", "#1f9aa8", "#8c7b3f")
_METADATA = ("Creator", "Date", "Format", "Type")  # left out of the SVG
_STYLE = {
    "svg.fonttype": "none",  # text stays text, for search and screen readers
    "svg.hashsalt": "bokeh-tflite",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def trade_off(rows: Sequence[Row]) -> list[str]:
    """Returns a plot of PSNR to the full model over latency, in each of `WIDTHS`.

    Rows without a latency or a PSNR are left out; the list is empty if no row is left.
    """
    shown = [row for row in rows if row.latency and row.fidelity_to("full_model")]
    if not shown:
        return []

    def draw(axes: Axes) -> None:
        for i, row in enumerate(shown):
            assert row.latency is not None
            fidelity = row.fidelity_to("full_model")
            assert fidelity is not None
            psnr_db = min(fidelity.psnr_db_mean, 150.0)
            low, high = row.latency.percentile_ms(25), row.latency.percentile_ms(75)
            median = row.latency.median_ms
            axes.errorbar(
                median,
                psnr_db,
                xerr=[[median - low], [high - median]],
                fmt="o",
                color=_color(i),
                label=f"{row.name} ({median:.0f} ms, {psnr_text(fidelity.psnr_db_mean)})",
            )
        axes.set_xlabel("latency (ms): median and interquartile range")
        axes.set_ylabel("PSNR vs full model (dB)")
        axes.set_xlim(left=0)
        axes.margins(y=0.2)
        axes.grid(alpha=0.2)

    return [_svg(draw, width, height=3.6, rows=len(shown)) for width in WIDTHS]


def distributions(rows: Sequence[Row]) -> list[str]:
    """Returns a plot of each run's time divided by its row's median, in each of `WIDTHS`."""
    shown = [row for row in rows if row.latency]
    if not shown:
        return []

    def draw(axes: Axes) -> None:
        generator = np.random.default_rng(0)
        for i, row in enumerate(shown):
            assert row.latency is not None
            times = np.array(row.latency.runs_ms) / row.latency.median_ms
            height = -i + generator.uniform(-0.25, 0.25, len(times))
            axes.plot(times, height, ".", color=_color(i), alpha=0.6, label=row.name)
            quartiles = [row.latency.percentile_ms(p) / row.latency.median_ms for p in (25, 75)]
            axes.plot(quartiles, [-i, -i], color=_color(i), linewidth=3, alpha=0.8)
        axes.axvline(1, color=_INK, linewidth=0.8, alpha=0.5)
        axes.set_yticks([])
        axes.set_xlabel("run time / median (bar: interquartile range)")
        axes.grid(alpha=0.2, axis="x")

    height = 1.4 + 0.35 * len(shown)
    return [_svg(draw, width, height=height, rows=len(shown)) for width in WIDTHS]


def _svg(draw: Callable[[Axes], None], width: float, *, height: float, rows: int) -> str:
    with mpl.rc_context(_STYLE):
        # The legend is below the plot, with one line for each row.
        below = 0.24 * rows + 0.15
        figure = Figure(figsize=(width, height + below))
        axes = figure.add_axes((0.62 / width, (below + 0.6) / (height + below),
                                1 - 0.75 / width, (height - 0.7) / (height + below)))  # fmt: skip
        draw(axes)
        figure.legend(loc="lower left", frameon=False, fontsize=8, bbox_to_anchor=(0, 0))
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata=dict.fromkeys(_METADATA))
    svg = file.getvalue()
    return svg[svg.index("<svg") :].replace(_INK, _CURRENT)


def _color(i: int) -> str:
    return _COLORS[i % len(_COLORS)]
