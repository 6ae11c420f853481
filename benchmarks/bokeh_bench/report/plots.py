"""The plots of the report, as SVG in two widths: for a desk and for a phone."""

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
"""Drawn in a colour of no other use, which then becomes the page's own, light or dark."""
_COLOURS = ("#3b7dd8", "#d9822b", "#2a9d5c", "#b5509c", "#8a6fd1", "#c0392b", "#1f9aa8", "#8c7b3f")
_NAMES = ("Creator", "Date", "Format", "Type")  # of what made it; not wanted in a page
_STYLE = {
    "svg.fonttype": "none",  # text stays text: it can be found and read aloud
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
    """Returns PSNR against the full model over latency, in each of `WIDTHS`; none without both."""
    shown = [row for row in rows if row.latency and row.fidelity_to("full_model")]
    if not shown:
        return []

    def draw(axes: Axes) -> None:
        for i, row in enumerate(shown):
            assert row.latency is not None
            found = row.fidelity_to("full_model")
            assert found is not None
            decibels = min(found.psnr_db_mean, 150.0)
            low, high = row.latency.percentile_ms(25), row.latency.percentile_ms(75)
            middle = row.latency.median_ms
            axes.errorbar(
                middle,
                decibels,
                xerr=[[middle - low], [high - middle]],
                fmt="o",
                color=_colour(i),
                label=f"{row.name} ({middle:.0f} ms, {psnr_text(found.psnr_db_mean)})",
            )
        axes.set_xlabel("latency: median and middle half (ms)")
        axes.set_ylabel("PSNR to the full model (dB)")
        axes.set_xlim(left=0)
        axes.margins(y=0.2)
        axes.grid(alpha=0.2)

    return [_svg(draw, width, height=3.6, rows=len(shown)) for width in WIDTHS]


def distributions(rows: Sequence[Row]) -> list[str]:
    """Returns each run's time, over the median of its row, in each of `WIDTHS`."""
    shown = [row for row in rows if row.latency]
    if not shown:
        return []

    def draw(axes: Axes) -> None:
        generator = np.random.default_rng(0)
        for i, row in enumerate(shown):
            assert row.latency is not None
            times = np.array(row.latency.runs_ms) / row.latency.median_ms
            height = -i + generator.uniform(-0.25, 0.25, len(times))
            axes.plot(times, height, ".", color=_colour(i), alpha=0.6, label=row.name)
            quartiles = [row.latency.percentile_ms(p) / row.latency.median_ms for p in (25, 75)]
            axes.plot(quartiles, [-i, -i], color=_colour(i), linewidth=3, alpha=0.8)
        axes.axvline(1, color=_INK, linewidth=0.8, alpha=0.5)
        axes.set_yticks([])
        axes.set_xlabel("run time over the median; bar: the middle half")
        axes.grid(alpha=0.2, axis="x")

    height = 1.4 + 0.35 * len(shown)
    return [_svg(draw, width, height=height, rows=len(shown)) for width in WIDTHS]


def _svg(draw: Callable[[Axes], None], width: float, *, height: float, rows: int) -> str:
    with mpl.rc_context(_STYLE):
        # The legend stands below the plot, a line for each row.
        below = 0.24 * rows + 0.15
        figure = Figure(figsize=(width, height + below))
        axes = figure.add_axes((0.62 / width, (below + 0.6) / (height + below),
                                1 - 0.75 / width, (height - 0.7) / (height + below)))  # fmt: skip
        draw(axes)
        figure.legend(loc="lower left", frameon=False, fontsize=8, bbox_to_anchor=(0, 0))
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata=dict.fromkeys(_NAMES))
    svg = file.getvalue()
    return svg[svg.index("<svg") :].replace(_INK, _CURRENT)


def _colour(i: int) -> str:
    return _COLOURS[i % len(_COLOURS)]
