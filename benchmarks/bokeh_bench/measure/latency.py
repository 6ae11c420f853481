"""Statistics of run times: latency, dispersion, drift, and the latency ratio of two models."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MAX_RELATIVE_IQR = 0.10
"""Above this IQR, as a fraction of the median, a latency is reported as unreliable."""
MAX_DRIFT = 0.05
"""Above this relative change from the first run to the last, the latency is noted as drifting."""
CONFIDENCE = 0.95
MIN_BLOCKS = 5
"""With fewer blocks a 95 % bootstrap interval has no bounds within the range of the blocks."""


def min_runs_for(percent: int) -> int:
    """Returns how many runs a percentile needs, such as 100 for the 99th.

    That is the number of runs of which at least one is expected above the percentile. With fewer,
    the percentile is just the slowest run.
    """
    return math.ceil(100 / (100 - percent))


@dataclass(frozen=True)
class Latency:
    """Run times of one model. A run includes writing the input and reading the output back.

    Attributes:
        load_ms: Time from the file to a model that is ready to run: reading, compiling and packing
            weights.
        first_inference_ms: Time of the first run, which may compile kernels.
        warm_up_runs: Number of runs until the times were steady, including the first.
        runs_ms: Times of the timed runs, in order.
    """

    load_ms: float
    first_inference_ms: float
    warm_up_runs: int
    runs_ms: Sequence[float]

    @property
    def median_ms(self) -> float:
        """Median run time: what the report calls the latency."""
        return statistics.median(self.runs_ms)

    @property
    def iqr_ms(self) -> float:
        """Interquartile range of the run times."""
        return self.percentile_ms(75) - self.percentile_ms(25)

    @property
    def relative_iqr(self) -> float:
        """Interquartile range divided by the median."""
        return self.iqr_ms / self.median_ms

    def percentile_ms(self, percent: float) -> float:
        """Returns a percentile of the run times, interpolated linearly."""
        return float(np.percentile(self.runs_ms, percent))

    def tail_percentile_ms(self, percent: int) -> float | None:
        """Returns a high percentile; None with fewer runs than `min_runs_for(percent)`."""
        enough = len(self.runs_ms) >= min_runs_for(percent)
        return self.percentile_ms(percent) if enough else None

    @property
    def drift(self) -> float:
        """Relative change from the first run to the last, by the Theil-Sen slope.

        It is 0 where the slope's 95 % interval contains 0, so that noise is not reported as drift.
        """
        if len(self.runs_ms) < 5:
            return 0.0
        from scipy import stats  # late: its import takes longer than the rest of a short command

        slope, _, low, high = stats.theilslopes(self.runs_ms, alpha=CONFIDENCE)
        if low <= 0 <= high:
            return 0.0
        return float(slope) * (len(self.runs_ms) - 1) / self.median_ms

    @property
    def notes(self) -> list[str]:
        """Remarks on the reliability of the latency, one line each."""
        found = []
        if self.relative_iqr > MAX_RELATIVE_IQR:
            found.append(f"unreliable: IQR is {self.relative_iqr:.0%} of the median")
        if abs(self.drift) > MAX_DRIFT:
            change, cause = (
                ("slower", "thermal throttling?")
                if self.drift > 0
                else ("faster", "clock ramp-up?")
            )
            found.append(
                f"latency drift: the last runs are {abs(self.drift):.0%} {change} than the first "
                f"({cause})"
            )
        return found


@dataclass(frozen=True)
class LatencyRatio:
    """Run time of one model divided by another's, measured in interleaved runs.

    Attributes:
        estimate: Geometric mean over the blocks of the ratio of their medians.
        ci95_low, ci95_high: Bounds of its 95 % confidence interval; see `estimate_latency_ratio`.
    """

    estimate: float
    ci95_low: float
    ci95_high: float


Block = tuple[Sequence[float], Sequence[float]]
"""Run times of both models in ms that were measured close together, in the same processes."""


def estimate_latency_ratio(blocks: Sequence[Block]) -> LatencyRatio:
    """Estimates the latency ratio of two models from interleaved runs.

    Consecutive runs are correlated (clocks, caches, other programs), and each process has a speed
    of its own (memory layout), so neither the runs nor the processes' runs are independent. Whole
    blocks are therefore resampled: the cluster bootstrap, as for benchmarks whose runs are nested
    in processes (Kalibera and Jones, "Rigorous Benchmarking in Reasonable Time", 2013), and for one
    long series the bootstrap of non-overlapping blocks (Carlstein, 1986). The percentile interval
    of n blocks is too narrow by sqrt((n - 1) / n) and because it has normal instead of Student's t
    tails; it is expanded for both (Hesterberg, "What Teachers Should Know About the Bootstrap",
    2015, section 4.2).

    Args:
        blocks: At least `MIN_BLOCKS`. With one block for each pair of fresh processes the interval
            generalizes to other processes; with blocks of one process it holds for that process.

    Raises:
        ValueError: If there are fewer blocks.
    """
    from scipy import stats

    count = len(blocks)
    if count < MIN_BLOCKS:
        raise ValueError(f"{count} blocks of runs; an interval needs {MIN_BLOCKS}")
    logs = np.log([statistics.median(one) / statistics.median(other) for one, other in blocks])
    wide = math.sqrt(count / (count - 1)) * stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)
    interval = stats.bootstrap(
        (logs,),
        np.mean,
        confidence_level=1 - 2 * stats.norm.sf(wide),
        method="percentile",
        rng=0,
    ).confidence_interval
    return LatencyRatio(math.exp(logs.mean()), math.exp(interval.low), math.exp(interval.high))
