"""The mixed-precision search: which convolutions run in int8, which in float.

int8 everywhere is the cheapest. If it misses a limit on the picture, the search first tries the
sets that the scheme proposes, and then looks for the convolutions with the largest error per
instruction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bokeh_convert.graph.cost_model import Precision, graph_cost
from bokeh_convert.graph.editor import Graph
from bokeh_convert.graph.op_inventory import multiply_accumulates
from bokeh_convert.passes import MERGE_CONVOLUTIONS
from bokeh_convert.quantize.mixed_precision_files import MixedPrecision, MixedPrecisionFile
from bokeh_convert.quantize.search_constraints import SearchConstraints, Trial
from bokeh_runtime.backends.interpreter import TfliteModel
from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.photo import FloatImage
from bokeh_runtime.metrics import grain
from bokeh_runtime.metrics.psnr import finite_db, psnr
from bokeh_runtime.tflite.value_range import UNIT_RANGES, ImageRanges

SEARCH_PHOTOS = 4
"""Number of calibration photos that the search runs on."""
INVALID_OUTPUT_DB = 0.0
"""PSNR assigned to an output with NaN or infinity: that of a black image against a white one."""
_INVALID_GRAIN = 255.0
_MAX_MACS = 2e13
"""Multiply-accumulates of all trials together, from which on there are no further trials: about
five minutes on two cores."""
_MIN_SAVING = 0.01
"""A difference in cost, as a share of the float32 file's instructions, that counts."""
_SEGMENTS = 16
_REFINEMENTS = 6
_MIN_CURVE_POINTS = 6


@dataclass(frozen=True)
class SearchResult:
    """The result of a mixed-precision search.

    Attributes:
        file: The file of the chosen assignment.
        chosen: The cheapest trial that meets the constraints, or one that costs hardly more and
            has half the error. If there is none, the trial with the
            smallest error that meets the limit on the cost; failing that, the cheapest trial.
        trials: All trials, cheapest first.
        constraints_met: Whether `chosen` meets the constraints.
        ended_early: Whether the search ended because the network is large.
        convolutions: Number of convolutions in the graph that can be quantized.
        float_reasons: Why each of the other convolutions is not int8, by the name of its output.
    """

    file: MixedPrecisionFile
    chosen: Trial
    trials: Sequence[Trial]
    constraints_met: bool
    convolutions: int
    float_reasons: Mapping[str, str]
    ended_early: bool = False

    def rebuilt(self, method: MixedPrecision) -> SearchResult:
        """Returns the result with the file that another method makes of the chosen assignment."""
        file = method.build(self.chosen.float_convolutions)
        cost = file.cost / graph_cost(Graph(method.float32), Precision.FLOAT32)
        return replace(self, file=file, chosen=replace(self.chosen, cost_ratio=cost))

    def summary(self) -> dict[str, Any]:
        """Returns the result as JSON data.

        The keys are those of `SearchResult` and, for the chosen trial, of `Trial`. `trials` is the
        trade-off curve: `float_convolutions`, `cost_ratio`, `psnr_db_mean`, `psnr_db_pooled`,
        `psnr_db_worst`, `grain_worst` and `identical_images` of each trial.
        """
        return {
            "constraints_met": self.constraints_met,
            "ended_early": self.ended_early,
            "convolutions": self.convolutions,
            "merged_convolutions": self.chosen.merged_convolutions,
            "float_convolutions": sorted(self.chosen.float_convolutions),
            "float_reasons": dict(self.float_reasons),
            "cost_ratio": round(self.chosen.cost_ratio, 3),
            "trials": [
                {
                    "float_convolutions": sorted(trial.float_convolutions),
                    "psnr_db_mean": finite_db(trial.psnr_db_mean, 2),
                    "psnr_db_pooled": finite_db(trial.psnr_db_pooled, 2),
                    "psnr_db_worst": finite_db(trial.psnr_db_worst, 2),
                    "grain_worst": _rounded(trial.grain_worst),
                    "identical_images": trial.psnr.identical_images,
                    "cost_ratio": round(trial.cost_ratio, 3),
                }
                for trial in self.trials
            ],
        }


def search_mixed_precision(
    method: MixedPrecision,
    photos: Sequence[FloatImage],
    constraints: SearchConstraints,
    *,
    reference: bytes | None = None,
    full_curve: bool = False,
    ranges: ImageRanges = UNIT_RANGES,
    threads: int,
    on_trial: Callable[[Trial], None] = lambda trial: None,
) -> SearchResult:
    """Finds a cheap mixed-precision assignment that meets the constraints.

    The search is greedy. It starts with the sets of the method, int8 everywhere first. If one meets
    the limits, it looks for the part of the set that does, too: each of its convolutions is tried
    in float, and those that remove the largest error per instruction are chosen. If none meets
    them, it cuts the convolutions, in execution order, into 16 segments of equal cost and ranks
    these likewise; the best segments are halved to see which half matters. For large networks it
    ends earlier, with the best that it has found.

    Args:
        method: How the files are made.
        photos: Network inputs, float [height, width, channels] in [0, 1].
        constraints: Limits on quality and cost.
        reference: The float32 file to compare with; None for that of the method.
        full_curve: Continue after the constraints are met, to record more of the trade-off curve.
        ranges: Value ranges of the network's input and output.
        threads: CPU threads.
        on_trial: Called after each trial.

    Raises:
        InputError: If the output of the float32 file itself has NaN or infinity.
    """
    expected = _outputs(reference or method.float32, photos, ranges, threads)
    trials = _Trials(method, photos, expected, ranges, threads, on_trial)
    found = None
    for in_float in method.first_sets():
        trial = trials.attempt(in_float)
        # One set more than needed is tried: it may be much better for hardly more.
        if (found is not None and not full_curve) or trials.exhausted:
            break
        if found is None and constraints.met_by(trial):
            found = trial
    if found is not None:
        _try_parts_of(found, trials, constraints)
    if full_curve or found is None:
        _try_segments(trials, constraints, full_curve)
    tried = sorted(trials.tried.values(), key=lambda trial: trial.cost_ratio)
    chosen, constraints_met = _choose(tried, constraints)
    # Built again: keeping the files of all trials would take too much memory for a large model.
    file = method.build(chosen.float_convolutions)
    reasons = {**method.excluded, **_reasons(method, chosen.float_convolutions)}
    count, ended_early = len(method.convolutions), trials.exhausted
    return SearchResult(file, chosen, tried, constraints_met, count, reasons, ended_early)


def _outputs(
    content: bytes, photos: Sequence[FloatImage], ranges: ImageRanges, threads: int
) -> list[FloatImage]:
    model = TfliteModel(content, threads=threads, ranges=ranges)
    outputs = [model.run(photo) for photo in photos]
    if not all(np.isfinite(output).all() for output in outputs):
        raise InputError(
            "the output of the float32 model has NaN or infinity; use a fully trained model"
        )
    return [np.clip(output, 0, 1) for output in outputs]


class _Trials:
    """Builds and runs assignments, each once."""

    def __init__(
        self,
        method: MixedPrecision,
        photos: Sequence[FloatImage],
        expected: Sequence[FloatImage],
        ranges: ImageRanges,
        threads: int,
        on_trial: Callable[[Trial], None],
    ) -> None:
        self.method, self.tried = method, dict[frozenset[str], Trial]()
        self._photos, self._expected = photos, expected
        self._ranges, self._threads = ranges, threads
        self._on_trial = on_trial
        self._float32_cost = graph_cost(Graph(method.float32), Precision.FLOAT32)
        self._macs = multiply_accumulates(method.float32) * len(photos)

    @property
    def exhausted(self) -> bool:
        """Whether as many were run as a large network can afford."""
        return not self.can_afford(0)

    def can_afford(self, count: int) -> bool:
        """Whether so many more can be run."""
        return (len(self.tried) + count) * self._macs <= _MAX_MACS

    def attempt(self, in_float: frozenset[str]) -> Trial:
        if in_float not in self.tried:
            file = self.method.build(in_float)
            candidate = TfliteModel(file.content, threads=self._threads, ranges=self._ranges)
            outputs = [candidate.run(photo) for photo in self._photos]
            pairs = list(zip(outputs, self._expected, strict=True))
            grains = [_output_grain(output, expected) for output, expected in pairs]
            trial = Trial(
                in_float,
                tuple(_output_psnr(output, expected) for output, expected in pairs),
                tuple(grain for grain in grains if grain is not None),
                file.cost / self._float32_cost,
                sum(p.count for p in file.passes if p.name == MERGE_CONVOLUTIONS),
            )
            self.tried[in_float] = trial
            self._on_trial(trial)
        return self.tried[in_float]


def _reasons(method: MixedPrecision, in_float: frozenset[str]) -> dict[str, str]:
    """Returns why the search keeps convolutions in float, in execution order."""
    names = method.convolutions
    first = next((i for i, name in enumerate(names) if name not in in_float), len(names))
    proposed = in_float in method.first_sets()

    def reason(position: int) -> str:
        if not proposed:
            return "search: its rounding is among the largest errors of the output"
        if position < first:
            return "start of the network: its rounding goes through all of it"
        return "end of the network: nothing averages its rounding"

    return {name: reason(i) for i, name in enumerate(names) if name in in_float}


def _try_parts_of(found: Trial, trials: _Trials, constraints: SearchConstraints) -> None:
    """Tries the most useful convolutions of a set that meets the constraints."""
    all_int8, names = trials.attempt(frozenset()), sorted(found.float_convolutions)
    saving = found.cost_ratio - all_int8.cost_ratio
    if saving < _MIN_SAVING or not trials.can_afford(len(names)):
        return

    def benefit(name: str) -> float:
        trial = trials.attempt(frozenset({name}))
        removed = all_int8.error(constraints) - trial.error(constraints)
        return removed / max(trial.cost_ratio - all_int8.cost_ratio, 1e-6)

    ranked = sorted(names, key=benefit, reverse=True)
    # The smallest number that is enough: the error falls as the number grows.
    too_few, enough = 0, len(ranked)
    while enough - too_few > 1 and not trials.exhausted:
        middle = (too_few + enough) // 2
        if constraints.met_by(trials.attempt(frozenset(ranked[:middle]))):
            enough = middle
        else:
            too_few = middle


def _try_segments(trials: _Trials, constraints: SearchConstraints, full_curve: bool) -> None:
    names = trials.method.convolutions
    in_float: frozenset[str] = frozenset()
    for position, segment in enumerate(_rank_segments(trials, constraints)):
        in_float |= segment
        if len(in_float) == len(names) or trials.exhausted:
            break  # all of them would be the float32 file
        trial = trials.attempt(in_float)
        done = constraints.met_by(trial) or not constraints.cost_met_by(trial)
        if done and not (full_curve and position < _MIN_CURVE_POINTS):
            break


def _choose(trials: Sequence[Trial], constraints: SearchConstraints) -> tuple[Trial, bool]:
    """Returns the chosen one of the trials, sorted by cost, and whether it meets the limits."""
    fitting = [trial for trial in trials if constraints.met_by(trial)]
    if fitting:
        cheapest = fitting[0]
        close = [t for t in fitting if t.cost_ratio <= cheapest.cost_ratio + _MIN_SAVING]
        best = min(close, key=lambda trial: trial.error(constraints))
        worth_it = best.error(constraints) <= cheapest.error(constraints) / 2
        return best if worth_it else cheapest, True
    affordable = [trial for trial in trials if constraints.cost_met_by(trial)]
    if affordable:
        return min(affordable, key=lambda trial: trial.error(constraints)), False
    return trials[0], False


def _rounded(grain_worst: float | None) -> float | None:
    return None if grain_worst is None else round(grain_worst, 3)


def _output_psnr(output: FloatImage, expected: FloatImage) -> float:
    if not np.isfinite(output).all():
        return INVALID_OUTPUT_DB
    return psnr(np.clip(output, 0, 1), expected, border_px=0)


def _output_grain(output: FloatImage, expected: FloatImage) -> float | None:
    if not np.isfinite(output).all():
        return _INVALID_GRAIN
    return grain.METRIC.compute(np.clip(output, 0, 1), expected)


def _rank_segments(trials: _Trials, constraints: SearchConstraints) -> list[frozenset[str]]:
    """Returns segments of the convolutions, largest error removed per instruction first."""
    all_int8 = trials.attempt(frozenset())
    names = trials.method.convolutions

    def benefit(segment: Sequence[str]) -> float:
        if trials.exhausted or len(segment) == len(names):
            return 0.0
        trial = trials.attempt(frozenset(segment))
        removed = all_int8.error(constraints) - trial.error(constraints)
        return removed / max(trial.cost_ratio - all_int8.cost_ratio, 1e-6)

    segments = sorted(_segments(trials.method), key=benefit, reverse=True)
    for _ in range(_REFINEMENTS):
        divisible = [segment for segment in segments if len(segment) > 1]
        if not divisible:
            break
        best = divisible[0]
        middle = len(best) // 2
        segments.remove(best)
        segments = sorted([*segments, best[:middle], best[middle:]], key=benefit, reverse=True)
    return [frozenset(segment) for segment in segments if len(segment) < len(names)]


def _segments(method: MixedPrecision) -> list[list[str]]:
    """Cuts the convolutions, in execution order, into segments of about equal cost."""
    names, graph = method.convolutions, Graph(method.float32)
    total = graph_cost(graph, Precision.FLOAT32)
    costs = [
        max(total - graph_cost(graph, Precision.DYNAMIC, [n for n in names if n != name]), 1e-9)
        for name in names
    ]
    fractions = np.cumsum(costs) / sum(costs)
    segments: dict[int, list[str]] = {}
    for name, fraction in zip(names, fractions, strict=True):
        segments.setdefault(min(int(fraction * _SEGMENTS), _SEGMENTS - 1), []).append(name)
    return list(segments.values())
