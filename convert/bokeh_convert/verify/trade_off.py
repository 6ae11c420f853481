"""Plot of a mixed-precision search: PSNR against estimated cost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from bokeh_convert.quantize.mixed_precision_search import SearchResult
from bokeh_convert.quantize.search_constraints import SearchConstraints

_MAX_DB = 150.0
"""Where an infinite PSNR is plotted; above what float32 rounding allows otherwise."""


def save_trade_off(path: Path, result: SearchResult, constraints: SearchConstraints) -> None:
    """Plots all trials of a search, the chosen one marked.

    Args:
        path: A .png file.
        result: The result of the search.
        constraints: The limits of the search, plotted as lines.
    """
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    costs = [trial.cost_ratio for trial in result.trials]
    means = [min(trial.psnr_db_mean, _MAX_DB) for trial in result.trials]
    worst = [min(trial.psnr_db_worst, _MAX_DB) for trial in result.trials]
    spread = [mean - low for mean, low in zip(means, worst, strict=True)]
    zeros = [0.0] * len(costs)
    axes.errorbar(
        costs, means, (spread, zeros), fmt="o", color="0.45", markersize=4, linewidth=0.7,
        label="trials (mean; the line ends at the worst photo)",
    )  # fmt: skip
    best = np.maximum.accumulate(means)
    axes.step(costs, best, where="post", color="0.7", linewidth=0.8, label="best for its cost")
    chosen = result.chosen
    in_float = f"{len(chosen.float_convolutions)} of {result.convolutions} convolutions in float32"
    mean = min(chosen.psnr_db_mean, _MAX_DB)
    axes.plot(chosen.cost_ratio, mean, "o", color="tab:blue", label=f"chosen: {in_float}")
    axes.axhline(
        constraints.min_psnr_db, color="tab:green", linewidth=0.8,
        label="limit on mean and pooled PSNR",
    )  # fmt: skip
    axes.axhline(
        constraints.worst_limit_db, color="tab:green", linewidth=0.8, linestyle=":",
        label="limit on the worst photo",
    )  # fmt: skip
    if constraints.max_cost_ratio is not None:
        axes.axvline(
            constraints.max_cost_ratio, color="tab:red", linewidth=0.8, label="limit on the cost"
        )
    axes.set_xlabel("estimated instructions on a phone's CPU, relative to float32")
    axes.set_ylabel("PSNR against float32, dB (search photos)")
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=120, format="png")
