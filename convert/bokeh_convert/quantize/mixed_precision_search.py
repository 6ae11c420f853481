"""The mixed-precision search of the int8 scheme: which convolutions run in int8, which in float32.

An int8 convolution has int8 weights and quantizes its input dynamically, to the range that the
input has in this inference; its output is float. Quantizing the outputs too, with calibrated
ranges, would save 4 % of the instructions on a phone's CPU and cost 1 to 5 dB of PSNR, so the
search does not try it. If int8 everywhere is below the PSNR limits, the convolutions with the
largest error per instruction are kept in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bokeh_convert.graph.cost_model import QUANTIZABLE, Precision, graph_cost
from bokeh_convert.graph.editor import Graph
from bokeh_convert.passes.merge_convolutions import merge_convolutions
from bokeh_convert.quantize.engine import quantize_convolutions
from bokeh_runtime.backends.interpreter import TfliteModel
from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.photo import FloatImage
from bokeh_runtime.metrics.psnr import PsnrStatistics, PsnrSummary, finite_db, psnr, summarize_psnr
from bokeh_runtime.tflite.value_range import UNIT_RANGES, ImageRanges

DEFAULT_MIN_PSNR_DB = 40.0
"""Default limit on mean and pooled PSNR; at 40 dB the difference is not visible."""
DEFAULT_WORST_MARGIN_DB = 3.0
"""By default, the limit on the worst photo is this much below `min_psnr_db`."""
SEARCH_MARGIN_DB = 1.0
"""Added to all limits during the search, because other photos may be harder than these."""
SEARCH_PHOTOS = 4
"""Number of calibration photos that the search runs on."""
INVALID_OUTPUT_DB = 0.0
"""PSNR assigned to an output with NaN or infinity: that of a black image against a white one."""
_SEGMENTS = 16
_REFINEMENTS = 6
_MIN_CURVE_POINTS = 6


@dataclass(frozen=True)
class Trial(PsnrStatistics):
    """A mixed-precision assignment that was built and run.

    Attributes:
        float_convolutions: Names of the output tensors of the convolutions kept in float32.
        psnr_db: PSNR against the float32 file per search photo; infinity if the outputs are
            identical, 0 if the output is not finite.
        cost_ratio: Estimated instructions on a phone's CPU, relative to the float32 file.
        merged_convolutions: Number of convolutions merged into another.
    """

    float_convolutions: frozenset[str]
    psnr_db: tuple[float, ...]
    cost_ratio: float
    merged_convolutions: int

    @property
    def psnr(self) -> PsnrSummary:
        """Mean, pooled and worst PSNR over the search photos."""
        return summarize_psnr(self.psnr_db)

    @property
    def mean_squared_error(self) -> float:
        """Mean squared error over all search photos, for values in [0, 1]."""
        return 10 ** (-self.psnr_db_pooled / 10)


@dataclass(frozen=True)
class SearchConstraints:
    """Limits on quality and cost.

    Attributes:
        min_psnr_db: Limit on the mean PSNR and on the pooled PSNR.
        max_cost_ratio: Limit on `Trial.cost_ratio`; None for no limit.
        min_psnr_db_worst: Limit on the worst photo; None for `DEFAULT_WORST_MARGIN_DB` below
            `min_psnr_db`.
    """

    min_psnr_db: float = DEFAULT_MIN_PSNR_DB
    max_cost_ratio: float | None = None
    min_psnr_db_worst: float | None = None

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
        """Returns whether a trial meets all limits, with `SEARCH_MARGIN_DB` to spare."""
        return (
            self.cost_met_by(trial)
            and trial.psnr_db_mean >= self.min_psnr_db + SEARCH_MARGIN_DB
            and trial.psnr_db_pooled >= self.min_psnr_db + SEARCH_MARGIN_DB
            and trial.psnr_db_worst >= self.worst_limit_db + SEARCH_MARGIN_DB
        )

    def summary(self) -> dict[str, float | None]:
        """Returns the limits as JSON data."""
        return {
            "min_psnr_db": self.min_psnr_db,
            "min_psnr_db_worst": self.worst_limit_db,
            "max_cost_ratio": self.max_cost_ratio,
        }


@dataclass(frozen=True)
class SearchResult:
    """The result of a mixed-precision search.

    Attributes:
        content: The .tflite file of the chosen assignment.
        chosen: The cheapest trial that meets the constraints. If there is none, the trial with the
            best pooled PSNR that meets the limit on the cost; failing that, the cheapest trial.
        trials: All trials, cheapest first.
        constraints_met: Whether `chosen` meets the constraints.
        convolutions: Number of convolutions in the graph that can be quantized.
    """

    content: bytes
    chosen: Trial
    trials: Sequence[Trial]
    constraints_met: bool
    convolutions: int

    def summary(self) -> dict[str, Any]:
        """Returns the result as JSON data.

        The keys are those of `SearchResult` and, for the chosen trial, of `Trial`. `trials` is the
        trade-off curve: `float_convolutions`, `cost_ratio`, `psnr_db_mean`, `psnr_db_pooled`,
        `psnr_db_worst` and `identical_images` of each trial.
        """
        return {
            "constraints_met": self.constraints_met,
            "convolutions": self.convolutions,
            "merged_convolutions": self.chosen.merged_convolutions,
            "float_convolutions": sorted(self.chosen.float_convolutions),
            "cost_ratio": round(self.chosen.cost_ratio, 3),
            "trials": [
                {
                    "float_convolutions": sorted(trial.float_convolutions),
                    "psnr_db_mean": finite_db(trial.psnr_db_mean, 2),
                    "psnr_db_pooled": finite_db(trial.psnr_db_pooled, 2),
                    "psnr_db_worst": finite_db(trial.psnr_db_worst, 2),
                    "identical_images": trial.psnr.identical_images,
                    "cost_ratio": round(trial.cost_ratio, 3),
                }
                for trial in self.trials
            ],
        }


def search_mixed_precision(
    float32: bytes,
    photos: Sequence[FloatImage],
    constraints: SearchConstraints,
    *,
    merge: bool = True,
    full_curve: bool = False,
    ranges: ImageRanges = UNIT_RANGES,
    threads: int,
    on_trial: Callable[[Trial], None] = lambda trial: None,
) -> SearchResult:
    """Finds the cheapest mixed-precision assignment that meets the constraints.

    The search is greedy. It starts with int8 everywhere, the cheapest assignment. If that misses a
    limit, it cuts the convolutions, in execution order, into 16 segments of equal cost and tries
    each in float32. The best segments are halved to see which half matters. Then segments are moved
    to float32 in the order of error removed per instruction, until the constraints are met.

    Args:
        float32: The float32 .tflite file.
        photos: Network inputs, float [height, width, channels] in [0, 1].
        constraints: Limits on quality and cost.
        merge: Merge convolutions where that is cheaper.
        full_curve: Continue after the constraints are met, to record more of the trade-off curve.
        ranges: Value ranges of the network's input and output.
        threads: CPU threads.
        on_trial: Called after each trial.

    Raises:
        InputError: If the output of the float32 file itself has NaN or infinity.
    """
    graph = Graph(float32)
    names = _convolutions(graph)
    float32_cost = graph_cost(graph, Precision.FLOAT32)
    model = TfliteModel(float32, threads=threads, ranges=ranges)
    outputs = [model.run(photo) for photo in photos]
    if not all(np.isfinite(output).all() for output in outputs):
        raise InputError(
            "the output of the float32 model has NaN or infinity; use a fully trained model"
        )
    expected = [np.clip(output, 0, 1) for output in outputs]
    tried: dict[frozenset[str], Trial] = {}

    def attempt(float_convolutions: frozenset[str]) -> Trial:
        if float_convolutions not in tried:
            content, cost, merged = _build(float32, float_convolutions, merge)
            candidate = TfliteModel(content, threads=threads, ranges=ranges)
            psnr_db = tuple(
                _output_psnr(candidate.run(photo), output)
                for photo, output in zip(photos, expected, strict=True)
            )
            trial = Trial(float_convolutions, psnr_db, cost / float32_cost, merged)
            tried[float_convolutions] = trial
            on_trial(trial)
        return tried[float_convolutions]

    all_int8 = attempt(frozenset())
    if full_curve or not constraints.met_by(all_int8):
        ranked = _rank_segments(graph, all_int8, attempt)
        segments = [segment for segment in ranked if len(segment) < len(names)]
        in_float: frozenset[str] = frozenset()
        for position, segment in enumerate(segments):
            in_float |= segment
            if len(in_float) == len(names):
                break  # this would be the float32 file
            trial = attempt(in_float)
            done = constraints.met_by(trial) or not constraints.cost_met_by(trial)
            if done and not (full_curve and position < _MIN_CURVE_POINTS):
                break
    trials = sorted(tried.values(), key=lambda trial: trial.cost_ratio)
    chosen, constraints_met = _choose(trials, constraints)
    # Built again: keeping the files of all trials would take too much memory for a large model.
    content, _, _ = _build(float32, chosen.float_convolutions, merge)
    return SearchResult(content, chosen, trials, constraints_met, len(names))


def _choose(trials: Sequence[Trial], constraints: SearchConstraints) -> tuple[Trial, bool]:
    """Returns the chosen one of the trials, sorted by cost, and whether it meets the limits."""
    fitting = [trial for trial in trials if constraints.met_by(trial)]
    if fitting:
        return fitting[0], True
    affordable = [trial for trial in trials if constraints.cost_met_by(trial)]
    if affordable:
        return max(affordable, key=lambda trial: trial.psnr_db_pooled), False
    return trials[0], False


def _output_psnr(output: FloatImage, expected: FloatImage) -> float:
    if not np.isfinite(output).all():
        return INVALID_OUTPUT_DB
    return psnr(np.clip(output, 0, 1), expected, border_px=0)


def _build(
    float32: bytes, float_convolutions: Collection[str], merge: bool
) -> tuple[bytes, float, int]:
    """Returns the file, its estimated instructions, and the number of merged convolutions."""
    graph = Graph(float32)
    merged = merge_convolutions(graph, Precision.DYNAMIC, float_convolutions) if merge else 0
    cost = graph_cost(graph, Precision.DYNAMIC, float_convolutions)
    return quantize_convolutions(graph.to_bytes(), float_convolutions), cost, merged


def _rank_segments(
    graph: Graph, all_int8: Trial, attempt: Callable[[frozenset[str]], Trial]
) -> list[frozenset[str]]:
    """Returns segments of the convolutions, largest error removed per instruction first."""

    def benefit(segment: Sequence[str]) -> float:
        trial = attempt(frozenset(segment))
        removed = all_int8.mean_squared_error - trial.mean_squared_error
        return removed / max(trial.cost_ratio - all_int8.cost_ratio, 1e-6)

    segments = sorted(_segments(graph), key=benefit, reverse=True)
    for _ in range(_REFINEMENTS):
        divisible = [segment for segment in segments if len(segment) > 1]
        if not divisible:
            break
        best = divisible[0]
        middle = len(best) // 2
        segments.remove(best)
        segments = sorted([*segments, best[:middle], best[middle:]], key=benefit, reverse=True)
    return [frozenset(segment) for segment in segments]


def _segments(graph: Graph) -> list[list[str]]:
    """Cuts the convolutions, in execution order, into segments of about equal cost."""
    names = _convolutions(graph)
    total = graph_cost(graph, Precision.FLOAT32)
    costs = [
        total - graph_cost(graph, Precision.DYNAMIC, [n for n in names if n != name])
        for name in names
    ]
    fractions = np.cumsum(costs) / sum(costs)
    segments: dict[int, list[str]] = {}
    for name, fraction in zip(names, fractions, strict=True):
        segments.setdefault(min(int(fraction * _SEGMENTS), _SEGMENTS - 1), []).append(name)
    return list(segments.values())


def _convolutions(graph: Graph) -> list[str]:
    """Returns the names of the output tensors of all convolutions that can be quantized."""
    return [
        graph.name(int(operator.outputs[0]))
        for operator in graph.operators
        if graph.opcode(operator) in QUANTIZABLE
    ]
