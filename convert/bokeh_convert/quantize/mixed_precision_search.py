"""The int8 scheme: which convolutions are computed in int8, found by looking at the picture.

An int8 convolution has int8 weights, and rounds its input to int8 by the range that the input has
in that photo; its result is float. Rounding the results too (ranges from calibration) saves 4 % of
the instructions on a phone's CPU and costs 1 to 5 dB of the picture, so no plan does it. Where the
picture still suffers, the convolutions that do most of the harm for their cost stay in float.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bokeh_convert.graph.cost_model import QUANTIZABLE, Precision, graph_cost
from bokeh_convert.graph.editor import Graph
from bokeh_convert.passes.merge_convolutions import merge_convolutions
from bokeh_convert.quantize.schemes import quantize_convolutions
from bokeh_runtime.backends.interpreter import TfliteModel
from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.photo import FloatImage
from bokeh_runtime.metrics.psnr import PsnrStatistics, PsnrSummary, finite_db, psnr, summarize_psnr

TARGET_DB = 40.0
"""PSNR that a plan must reach unless another is asked; no eye tells the two pictures apart."""
WORST_BELOW_DB = 3.0
"""How far below the target the worst photo may be, unless another limit is asked."""
MARGIN_DB = 1.0
"""What is asked beyond the target on the photos of the search, for photos that it has not seen."""
SEARCH_PHOTOS = 4
BROKEN_DB = 0.0
"""Of a picture with NaN or infinity: the PSNR of black to white."""
_SEGMENTS = 16
_REFINEMENTS = 6
_CURVE = 6


@dataclass(frozen=True)
class Trial(PsnrStatistics):
    """A plan that was built and drawn with.

    Attributes:
        in_float: Convolutions that stay in float, by the names of their results.
        psnr_db: Of each photo of the search, against the float32 file; infinity where the two
            pictures are identical, 0 where the plan's is not finite.
        cost_ratio: Estimated instructions on a phone's CPU, over the float32 file's.
        merged: Convolutions that were merged into another.
    """

    in_float: frozenset[str]
    psnr_db: tuple[float, ...]
    cost_ratio: float
    merged: int

    @property
    def psnr(self) -> PsnrSummary:
        return summarize_psnr(self.psnr_db)

    @property
    def mean_squared_error(self) -> float:
        return 10 ** (-self.psnr_db_pooled / 10)


@dataclass(frozen=True)
class Budget:
    """What a plan must keep to.

    Attributes:
        psnr_db: Mean PSNR, and PSNR of the pooled error.
        cost_ratio: The most instructions, over the float32 file's; None is any number.
        psnr_db_worst: Of the worst photo; None is `WORST_BELOW_DB` under `psnr_db`.
    """

    psnr_db: float = TARGET_DB
    cost_ratio: float | None = None
    psnr_db_worst: float | None = None

    @property
    def worst_db(self) -> float:
        """What is asked of the worst photo."""
        return self.psnr_db - WORST_BELOW_DB if self.psnr_db_worst is None else self.psnr_db_worst

    def affords(self, trial: Trial) -> bool:
        return self.cost_ratio is None or trial.cost_ratio <= self.cost_ratio

    def holds(self, trial: Trial) -> bool:
        return (
            self.affords(trial)
            and trial.psnr_db_mean >= self.psnr_db + MARGIN_DB
            and trial.psnr_db_pooled >= self.psnr_db + MARGIN_DB
            and trial.psnr_db_worst >= self.worst_db + MARGIN_DB
        )


@dataclass(frozen=True)
class Plan:
    """The outcome of a search.

    Attributes:
        content: The .tflite file of the chosen plan.
        chosen: The cheapest plan within the budget; if there is none, the best picture among
            those that cost no more than the budget (or the cheapest of all).
        trials: Every plan that was tried, cheapest first.
        within_budget: Whether `chosen` is.
        convolutions: How many the graph has.
    """

    content: bytes
    chosen: Trial
    trials: Sequence[Trial]
    within_budget: bool
    convolutions: int

    def summary(self) -> dict[str, Any]:
        """Returns the plan and the trade-off curve as JSON data."""
        return {
            "within_budget": self.within_budget,
            "convolutions": self.convolutions,
            "merged": self.chosen.merged,
            "in_float": sorted(self.chosen.in_float),
            "cost_ratio": round(self.chosen.cost_ratio, 3),
            "trade_off": [
                {
                    "in_float": sorted(trial.in_float),
                    "psnr_db_mean": finite_db(trial.psnr_db_mean, 2),
                    "psnr_db_pooled": finite_db(trial.psnr_db_pooled, 2),
                    "psnr_db_worst": finite_db(trial.psnr_db_worst, 2),
                    "identical_images": trial.psnr.identical_images,
                    "cost_ratio": round(trial.cost_ratio, 3),
                }
                for trial in self.trials
            ],
        }


def search(
    float32: bytes,
    photos: Sequence[FloatImage],
    budget: Budget,
    *,
    merge: bool = True,
    whole_curve: bool = False,
    threads: int,
    on_trial: Callable[[Trial], None] = lambda trial: None,
) -> Plan:
    """Finds the cheapest plan within a budget.

    Starts from int8 everywhere, which is the cheapest. If that is not good enough, every sixteenth
    of the convolutions (by cost, in the order in which they run) is put into float in turn, the
    best sixteenths are halved to see which half matters, and the parts join the float ones in the
    order of error removed per instruction until the budget is met.

    Args:
        float32: The .tflite file.
        photos: Inputs, float [height, width, channels].
        budget: What must be met.
        merge: Merge convolutions where that is cheaper.
        whole_curve: Go on after the budget is met, to show what more would bring.
        threads: CPU threads.
        on_trial: Told of each plan tried.

    Raises:
        InputError: If the float32 file itself draws NaN or infinity.
    """
    graph = Graph(float32)
    names = _convolutions(graph)
    base_cost = graph_cost(graph, Precision.FLOAT32)
    model = TfliteModel(float32, threads=threads)
    outputs = [model.run(photo) for photo in photos]
    if not all(np.isfinite(output).all() for output in outputs):
        raise InputError("the float32 file draws NaN or infinity; give a trained model")
    expected = [np.clip(output, 0, 1) for output in outputs]
    tried: dict[frozenset[str], Trial] = {}

    def attempt(in_float: frozenset[str]) -> Trial:
        if in_float not in tried:
            content, cost, merged = _build(float32, in_float, merge)
            drawing = TfliteModel(content, threads=threads)
            decibels = tuple(
                _distance(drawing.run(photo), picture)
                for photo, picture in zip(photos, expected, strict=True)
            )
            tried[in_float] = Trial(in_float, decibels, cost / base_cost, merged)
            on_trial(tried[in_float])
        return tried[in_float]

    whole = attempt(frozenset())
    if whole_curve or not budget.holds(whole):
        parts = [part for part in _parts(graph, whole, attempt) if len(part) < len(names)]
        in_float: frozenset[str] = frozenset()
        for position, part in enumerate(parts):
            in_float |= part
            if len(in_float) == len(names):
                break  # nothing would be int8
            trial = attempt(in_float)
            enough = budget.holds(trial) or not budget.affords(trial)
            if enough and not (whole_curve and position < _CURVE):
                break
    trials = sorted(tried.values(), key=lambda trial: trial.cost_ratio)
    fitting = [trial for trial in trials if budget.holds(trial)]
    affordable = [trial for trial in trials if budget.affords(trial)]
    if fitting:
        chosen = fitting[0]
    elif affordable:
        chosen = max(affordable, key=lambda trial: trial.psnr_db_pooled)
    else:
        chosen = trials[0]
    content, _, _ = _build(
        float32, chosen.in_float, merge
    )  # not kept: forty files of a large model
    return Plan(content, chosen, trials, bool(fitting), len(names))


def _distance(output: FloatImage, picture: FloatImage) -> float:
    """Returns the PSNR; of what is not finite as of a picture that is wrong everywhere."""
    if not np.isfinite(output).all():
        return BROKEN_DB
    return psnr(np.clip(output, 0, 1), picture, border_px=0)


def _build(float32: bytes, in_float: Collection[str], merge: bool) -> tuple[bytes, float, int]:
    """Returns the file of a plan, the estimate of its instructions, and the merged convolutions."""
    graph = Graph(float32)
    merged = merge_convolutions(graph, Precision.DYNAMIC, exclude=in_float) if merge else 0
    cost = graph_cost(graph, Precision.DYNAMIC, in_float)
    return quantize_convolutions(graph.to_bytes(), in_float), cost, merged


def _parts(
    graph: Graph, whole: Trial, attempt: Callable[[frozenset[str]], Trial]
) -> list[frozenset[str]]:
    """Returns parts of the convolutions, those that are most worth their cost in float first."""

    def worth(part: Sequence[str]) -> float:
        trial = attempt(frozenset(part))
        gain = whole.mean_squared_error - trial.mean_squared_error
        return gain / max(trial.cost_ratio - whole.cost_ratio, 1e-6)

    parts = sorted(_segments(graph), key=worth, reverse=True)
    for _ in range(_REFINEMENTS):
        divisible = [part for part in parts if len(part) > 1]
        if not divisible:
            break
        best = divisible[0]
        middle = len(best) // 2
        parts.remove(best)
        parts = sorted([*parts, best[:middle], best[middle:]], key=worth, reverse=True)
    return [frozenset(part) for part in parts]


def _segments(graph: Graph) -> list[list[str]]:
    """Cuts the convolutions, in their order, into parts of about equal cost."""
    names = _convolutions(graph)
    total = graph_cost(graph, Precision.FLOAT32)
    costs = [
        total - graph_cost(graph, Precision.DYNAMIC, [n for n in names if n != name])
        for name in names
    ]
    ends = np.cumsum(costs) / sum(costs)
    segments: dict[int, list[str]] = {}
    for name, end in zip(names, ends, strict=True):
        segments.setdefault(min(int(end * _SEGMENTS), _SEGMENTS - 1), []).append(name)
    return list(segments.values())


def _convolutions(graph: Graph) -> list[str]:
    return [
        graph.name(int(operator.outputs[0]))
        for operator in graph.operators
        if graph.opcode(operator) in QUANTIZABLE
    ]
