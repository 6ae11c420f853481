"""The picture of a plan search: PSNR against cost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from bokeh_convert.quantize.mixed_precision_search import Budget, Plan

_TOP_DB = 150.0
"""Where identical pictures are drawn: about as near as float32 can be."""


def save_trade_off(path: Path, plan: Plan, budget: Budget) -> None:
    """Draws every plan that was tried, the chosen one marked.

    Args:
        path: A .png file.
        plan: What the search found.
        budget: What it was asked for.
    """
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    costs = [trial.cost_ratio for trial in plan.trials]
    means = [min(trial.psnr_db_mean, _TOP_DB) for trial in plan.trials]
    worst = [min(trial.psnr_db_worst, _TOP_DB) for trial in plan.trials]
    spread = [mean - low for mean, low in zip(means, worst, strict=True)]
    nothing = [0.0] * len(costs)
    axes.errorbar(
        costs, means, (spread, nothing), fmt="o", color="0.45", markersize=4, linewidth=0.7,
        label="plans tried (mean; the line ends at the worst photo)",
    )  # fmt: skip
    best = np.maximum.accumulate(means)
    axes.step(costs, best, where="post", color="0.7", linewidth=0.8, label="best for its cost")
    chosen = plan.chosen
    floats = f"{len(chosen.in_float)} of {plan.convolutions} convolutions in float"
    mean = min(chosen.psnr_db_mean, _TOP_DB)
    axes.plot(chosen.cost_ratio, mean, "o", color="tab:blue", label=f"chosen: {floats}")
    axes.axhline(budget.psnr_db, color="tab:green", linewidth=0.8, label="asked of mean and pooled")
    axes.axhline(
        budget.worst_db, color="tab:green", linewidth=0.8, linestyle=":",
        label="asked of the worst photo",
    )  # fmt: skip
    if budget.cost_ratio is not None:
        axes.axvline(budget.cost_ratio, color="tab:red", linewidth=0.8, label="most cost")
    axes.set_xlabel("instructions on a phone's CPU / float32's (estimate)")
    axes.set_ylabel("PSNR against float32, dB (photos of the search)")
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=120, format="png")
