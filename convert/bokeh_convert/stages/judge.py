"""Decides whether a file is good enough for what was asked."""

from __future__ import annotations

from dataclasses import dataclass

from bokeh_convert.options import ConvertOptions
from bokeh_convert.stages.quantize import budget_of
from bokeh_convert.stages.verify import Verified
from bokeh_convert.verify.verification import FidelityLimits


@dataclass(frozen=True)
class Judged:
    """A file and the verdict on it.

    Attributes:
        verified: The file, and what was measured.
        limits: What it had to reach.
        failure: Why it did not pass; None if it did.
    """

    verified: Verified
    limits: FidelityLimits
    failure: str | None

    @property
    def passed(self) -> bool:
        return self.failure is None


def judge_file(verified: Verified, options: ConvertOptions) -> Judged:
    """Holds a file against the PSNR that was asked for, and a plan against its cost too."""
    budget, plan = budget_of(options), verified.quantized.plan
    worst_db = options.min_psnr_db_worst if options.min_psnr_db is None else budget.worst_db
    limits = FidelityLimits(options.min_psnr_db, worst_db)
    if plan is not None and budget.cost_ratio is not None:
        limits = FidelityLimits(budget.psnr_db, budget.worst_db)
    failure = verified.broken
    if verified.fidelity is not None:
        failure = limits.shortfall(verified.fidelity)
    if failure is None and plan is not None and not budget.affords(plan.chosen):
        failure = (
            f"costs {plan.chosen.cost_ratio:.2f} of the float32 file, "
            f"more than {budget.cost_ratio:g}"
        )
    return Judged(verified, limits, failure)
