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
FEWEST_BLOCKS = 5
"""Of fewer, an interval of 95 % has no bounds within the range of the blocks."""


def fewest_runs(percent: int) -> int:
    """Returns of how many runs one at least is expected beyond a percentile: 100 for the 99th.

    With fewer, what is called the percentile is the slowest run, whatever the percentile.
    """
    return math.ceil(100 / (100 - percent))


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

    def tail_ms(self, percent: int) -> float | None:
        """Returns a high percentile; None with fewer runs than `fewest_runs(percent)`."""
        enough = len(self.runs_ms) >= fewest_runs(percent)
        return self.percentile_ms(percent) if enough else None

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
        estimate: Geometric mean over the blocks of the ratio of their medians.
        low, high: Its interval of 95 %; see `ratio`.
    """

    estimate: float
    low: float
    high: float


Block = tuple[Sequence[float], Sequence[float]]
"""Run times of both models, in ms, that were taken near each other: in the same processes."""


def ratio(blocks: Sequence[Block]) -> Ratio:
    """Compares two models that took turns.

    Runs that follow each other are alike (clocks, caches, other programs), and a process has a
    speed of its own (where its memory lies), so that neither turns nor the runs of one process are
    independent. Whole blocks are resampled, whose runs stay together: the cluster bootstrap, as for
    benchmarks whose runs are nested in processes (Kalibera and Jones, "Rigorous Benchmarking in
    Reasonable Time", 2013), and for one long series the bootstrap of blocks that do not overlap
    (Carlstein, 1986). The percentile interval of n blocks is too narrow by sqrt((n - 1) / n) and
    for having normal instead of Student's tails; it is expanded for both (Hesterberg, "What
    Teachers Should Know About the Bootstrap", 2015, section 4.2).

    Args:
        blocks: At least `FEWEST_BLOCKS`. With a block for each pair of fresh processes the interval
            holds for other processes too; with blocks of one process, for that process.

    Raises:
        ValueError: If there are fewer blocks.
    """
    count = len(blocks)
    if count < FEWEST_BLOCKS:
        raise ValueError(f"{count} blocks of turns; an interval needs {FEWEST_BLOCKS}")
    logs = np.log([statistics.median(one) / statistics.median(other) for one, other in blocks])
    wide = math.sqrt(count / (count - 1)) * stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)
    found = stats.bootstrap(
        (logs,),
        np.mean,
        confidence_level=1 - 2 * stats.norm.sf(wide),
        method="percentile",
        rng=0,
    ).confidence_interval
    return Ratio(math.exp(logs.mean()), math.exp(found.low), math.exp(found.high))
