"""What a list of run times says: how fast, how steady, how sure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

NOISY = 0.10
"""Above this spread (interquartile range over median) a run says little."""
DRIFT = 0.05
"""Above this change from the first run to the last, a machine throttles or wakes up."""
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Latency:
    """Run times of one model, each of the run and of reading the picture back.

    Attributes:
        load_ms: From the file to a model that is ready: reading, compiling, packing weights.
        first_inference_ms: The first run, which may compile kernels.
        warm_up_runs: Runs until the times were steady, the first among them.
        runs_ms: The timed runs, in order.
    """

    load_ms: float
    first_inference_ms: float
    warm_up_runs: int
    runs_ms: Sequence[float]

    @property
    def median_ms(self) -> float:
        return statistics.median(self.runs_ms)

    @property
    def iqr_ms(self) -> float:
        return self.percentile_ms(75) - self.percentile_ms(25)

    @property
    def spread(self) -> float:
        """Interquartile range over median."""
        return self.iqr_ms / self.median_ms

    def percentile_ms(self, percent: float) -> float:
        """Interpolated linearly between the runs."""
        return float(np.percentile(self.runs_ms, percent))

    @property
    def drift(self) -> float:
        """Change from the first run to the last over the median: Theil and Sen's slope.

        0 where its interval of 95 % holds 0, so that noise is no drift.
        """
        if len(self.runs_ms) < 5:
            return 0.0
        slope, _, low, high = stats.theilslopes(self.runs_ms, alpha=CONFIDENCE)
        if low <= 0 <= high:
            return 0.0
        return float(slope) * (len(self.runs_ms) - 1) / self.median_ms

    @property
    def notes(self) -> list[str]:
        """What a reader of the figures must know, in a line each."""
        found = []
        if self.spread > NOISY:
            found.append(
                f"too noisy to say: half of the runs spread over {self.spread:.0%} of the median"
            )
        if abs(self.drift) > DRIFT:
            way = "slower (throttling?)" if self.drift > 0 else "faster (a clock that wakes up?)"
            found.append(f"drifts: the last runs are {abs(self.drift):.0%} {way} than the first")
        return found


@dataclass(frozen=True)
class Ratio:
    """Run time of one model over another's, the two taking turns.

    Attributes:
        median: Of the ratios of neighbours.
        low, high: Its interval of 95 %, whatever the distribution (order statistics, by the
            binomial test of the median).
    """

    median: float
    low: float
    high: float


def ratio(first_ms: Sequence[float], second_ms: Sequence[float]) -> Ratio:
    """Compares two models that took turns: `first_ms[i]` ran just before `second_ms[i]`."""
    ratios = [one / other for one, other in zip(first_ms, second_ms, strict=True)]
    middle = statistics.median(ratios)
    test = stats.quantile_test(ratios, q=middle, p=0.5)
    interval = test.confidence_interval(confidence_level=CONFIDENCE)
    # With five turns or fewer no two of them bound the median so surely.
    low = min(ratios) if math.isnan(interval.low) else float(interval.low)
    high = max(ratios) if math.isnan(interval.high) else float(interval.high)
    return Ratio(middle, low, high)
