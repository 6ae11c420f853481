"""Trials of the mixed-precision search, and the limits that they are compared with."""

from __future__ import annotations

from dataclasses import dataclass

from bokeh_runtime.metrics.psnr import PsnrStatistics, PsnrSummary, summarize_psnr

DEFAULT_MIN_PSNR_DB = 42.0
"""Default limit on mean and pooled PSNR: with the limit on grain, what a picture scaled up to 12
megapixels needs."""
DEFAULT_WORST_MARGIN_DB = 3.0
"""By default, the limit on the worst photo is this much below `min_psnr_db`."""
DEFAULT_MAX_GRAIN = 0.75
"""Default limit on the grain of the worst photo; see `bokeh_runtime.metrics.grain`."""
SEARCH_MARGIN_DB = 1.0
"""Added to all limits on PSNR during the search, because other photos may be harder than these."""
SEARCH_MARGIN_GRAIN = 0.9
"""Factor of the limit on grain during the search, for the same reason."""


@dataclass(frozen=True)
class Trial(PsnrStatistics):
    """A mixed-precision assignment that was built and run.

    Attributes:
        float_convolutions: Names of the output tensors of the convolutions kept in float.
        psnr_db: PSNR against the float32 file per search photo; infinity if the outputs are
            identical, 0 if the output is not finite.
        grain: Grain against the float32 file per search photo that has smooth areas.
        cost_ratio: Estimated instructions on a phone's CPU, relative to the float32 file.
        merged_convolutions: Number of convolutions merged into another.
    """

    float_convolutions: frozenset[str]
    psnr_db: tuple[float, ...]
    grain: tuple[float, ...]
    cost_ratio: float
    merged_convolutions: int

    @property
    def psnr(self) -> PsnrSummary:
        """Mean, pooled and worst PSNR over the search photos."""
        return summarize_psnr(self.psnr_db)

    @property
    def grain_worst(self) -> float | None:
        """Grain of the worst search photo; None if no photo has smooth areas."""
        return max(self.grain, default=None)

    def error(self, constraints: SearchConstraints) -> float:
        """Returns the mean squared error, and the mean square of grain, in units of the limits."""
        error = 10 ** ((constraints.min_psnr_db - self.psnr_db_pooled) / 10)
        if constraints.max_grain is not None and self.grain:
            squares = [(grain / constraints.max_grain) ** 2 for grain in self.grain]
            error += sum(squares) / len(squares)
        return error


@dataclass(frozen=True)
class SearchConstraints:
    """Limits on quality and cost.

    Attributes:
        min_psnr_db: Limit on the mean PSNR and on the pooled PSNR.
        max_cost_ratio: Limit on `Trial.cost_ratio`; None for no limit.
        min_psnr_db_worst: Limit on the worst photo; None for `DEFAULT_WORST_MARGIN_DB` below
            `min_psnr_db`.
        max_grain: Limit on the grain of the worst photo; None for no limit.
    """

    min_psnr_db: float = DEFAULT_MIN_PSNR_DB
    max_cost_ratio: float | None = None
    min_psnr_db_worst: float | None = None
    max_grain: float | None = DEFAULT_MAX_GRAIN

    @property
    def worst_limit_db(self) -> float:
        """The limit on the worst photo, with the default filled in."""
        if self.min_psnr_db_worst is None:
            return self.min_psnr_db - DEFAULT_WORST_MARGIN_DB
        return self.min_psnr_db_worst

    def cost_met_by(self, trial: Trial) -> bool:
        """Returns whether a trial meets the limit on the cost."""
        return self.max_cost_ratio is None or trial.cost_ratio <= self.max_cost_ratio

    def met_by(self, trial: Trial) -> bool:
        """Returns whether a trial meets all limits, with the search margins to spare."""
        grain_met = (
            self.max_grain is None
            or trial.grain_worst is None
            or trial.grain_worst <= self.max_grain * SEARCH_MARGIN_GRAIN
        )
        return (
            grain_met
            and self.cost_met_by(trial)
            and trial.psnr_db_mean >= self.min_psnr_db + SEARCH_MARGIN_DB
            and trial.psnr_db_pooled >= self.min_psnr_db + SEARCH_MARGIN_DB
            and trial.psnr_db_worst >= self.worst_limit_db + SEARCH_MARGIN_DB
        )

    def summary(self) -> dict[str, float | None]:
        """Returns the limits as JSON data."""
        return {
            "min_psnr_db": self.min_psnr_db,
            "min_psnr_db_worst": self.worst_limit_db,
            "max_grain": self.max_grain,
            "max_cost_ratio": self.max_cost_ratio,
        }
