"""Decides whether a file meets the limits on quality and cost."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bokeh_convert.options import ConvertOptions
from bokeh_convert.stages.limits import asked_limits, search_constraints
from bokeh_convert.stages.verify import Verified
from bokeh_convert.verify.verification import FidelityLimits


@dataclass(frozen=True)
class Judged:
    """A file and whether it passed.

    Attributes:
        verified: The file and its fidelity.
        limits: The limits on its fidelity.
        failure: Why it did not pass; None if it passed.
    """

    verified: Verified
    limits: FidelityLimits
    failure: str | None

    @property
    def passed(self) -> bool:
        """Whether the file meets all limits."""
        return self.failure is None


def judge_file(verified: Verified, options: ConvertOptions) -> Judged:
    """Compares the fidelity of a file, and the cost of a mixed-precision file, with the limits."""
    constraints, result = search_constraints(options), verified.quantized.search_result
    limits = asked_limits(options)
    if result is not None and constraints.max_cost_ratio is not None:
        # A limit on the cost is about the cheapest file that keeps the PSNR, so both apply.
        limits = replace(
            limits,
            psnr_db=constraints.min_psnr_db,
            psnr_db_worst=constraints.worst_limit_db,
        )
    failure = verified.invalid_output
    if verified.fidelity is not None:
        failure = limits.shortfall(verified.fidelity)
    if failure is None and result is not None and not constraints.cost_met_by(result.chosen):
        failure = (
            f"the estimated cost is {result.chosen.cost_ratio:.2f} of the float32 file's, "
            f"above the limit of {constraints.max_cost_ratio:g}"
        )
    return Judged(verified, limits, failure)
