"""Chooses the value ranges of a network's input and output.

What the user says comes first, then what the graph shows (`value_range_evidence`), then trials: the
network is run on photos that are scaled to each range that is left, and its outputs are compared
with the photos.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bokeh_convert.sources.value_range_evidence import Evidence
from bokeh_runtime.errors import Argument, InputError
from bokeh_runtime.imaging.photo import FloatImage
from bokeh_runtime.metrics.photo_agreement import PhotoAgreement, agreement, mean_agreement
from bokeh_runtime.tflite.value_range import STANDARD_RANGES, UNIT, ImageRanges, ValueRange

# An output may leave its range a little: networks without a last activation overshoot.
_OVERSHOOT = 0.25
# Another range than the first that fits may be the right one where its outputs are nearer to the
# photos, by this share of the distance and by this much. Networks that change the brightness are
# farther from their photos too, so that it is asked for.
_NEARER, _NEARER_BY = 1 / 2, 0.05

_ASSUMED = "{} range 0..1 is assumed; nothing in the network says which it is"
GIVE_RANGES = ("give ", Argument("input_range"), " and ", Argument("output_range"))
"""Remedy of errors about value ranges."""


@dataclass(frozen=True)
class FoundRanges:
    """The value ranges of a network, and how they were found.

    Attributes:
        ranges: Those of its input and output.
        reasons: A line each of how they were found, for the user.
        fault: What is wrong with the outputs on photos in these ranges; None if nothing. Only where
            the user chose the ranges; otherwise a fault is an error.
    """

    ranges: ImageRanges
    reasons: tuple[str, ...] = ()
    fault: str | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """Reasons and fault, a line each."""
        fault = () if self.fault is None else (f"the output is {self.fault}",)
        return (*self.reasons, *fault)


@dataclass(frozen=True)
class _Trial:
    input: ValueRange
    output: ValueRange
    agreement: PhotoAgreement
    finite: bool
    outside: bool

    @property
    def fits(self) -> bool:
        return self.agreement.fault is None and self.finite and not self.outside


def choose_ranges(
    name: str,
    run: Callable[[FloatImage, ValueRange], FloatImage],
    photos: Sequence[FloatImage],
    *,
    asked_input: ValueRange | None,
    asked_output: ValueRange | None,
    input_evidence: Evidence | None,
    output_evidence: Evidence | None,
) -> FoundRanges:
    """Returns the ranges in which the network's outputs follow the photos.

    Args:
        name: What to call the network in errors.
        run: Runs the network on an image in [0, 1] that is scaled to a range.
        photos: float [height, width, channels] in [0, 1].
        asked_input: What the user said of the input's range.
        asked_output: What the user said of the output's range.
        input_evidence: What the graph shows of the input's range.
        output_evidence: What the graph shows of the output's range.

    Raises:
        InputError: If no range fits, or several do.
    """
    inputs = _candidates(asked_input, input_evidence)
    if len(inputs) > 1 and output_evidence is not None and asked_output is None:
        # Image-to-image networks are trained on pairs that are scaled alike.
        likely = output_evidence.value_range
        inputs = tuple(sorted(inputs, key=lambda one: one != likely))
    outputs = _candidates(asked_output, output_evidence)

    def tried(value_range: ValueRange) -> list[_Trial]:
        raw = [run(photo, value_range) for photo in photos]
        return [_trial(value_range, other, photos, raw) for other in outputs]

    trials = tried(inputs[0])
    # Where the first range brings the outputs that near, no other can be nearer by more.
    if not any(one.fits and one.agreement.distance <= _NEARER_BY for one in trials):
        trials += [trial for value_range in inputs[1:] for trial in tried(value_range)]
    if not any(trial.finite for trial in trials):
        raise InputError(f"{name}: the output has NaN or infinity; use a fully trained model")
    chosen = _chosen(name, trials)
    if not chosen.fits and not (asked_input and asked_output):
        raise _nothing_fits(name, chosen)
    reasons = [
        _reason("input", chosen.input, asked_input, input_evidence),
        _reason("output", chosen.output, asked_output, output_evidence),
    ]
    if reasons == [_ASSUMED.format("input"), _ASSUMED.format("output")]:
        reasons = [_ASSUMED.format("value")]
    fault = None if chosen.fits else chosen.agreement.fault or "outside the range that was given"
    ranges = ImageRanges(chosen.input, chosen.output)
    return FoundRanges(ranges, tuple(filter(None, reasons)), fault)


def _candidates(asked: ValueRange | None, evidence: Evidence | None) -> tuple[ValueRange, ...]:
    if asked is not None:
        return (asked,)
    return STANDARD_RANGES if evidence is None else (evidence.value_range,)


def _trial(
    value_range: ValueRange,
    output_range: ValueRange,
    photos: Sequence[FloatImage],
    raw: Sequence[FloatImage],
) -> _Trial:
    scaled = [output_range.to_unit(np.nan_to_num(one)) for one in raw]
    low, high = np.percentile(np.concatenate([one.ravel() for one in scaled]), (1, 99))
    outside = low < -_OVERSHOOT or high > 1 + _OVERSHOOT
    # Values that are never negative are not of a range around zero.
    outside = outside or (output_range.low < 0 <= min(float(one.min()) for one in raw))
    finite = all(bool(np.isfinite(one).all()) for one in raw)
    found = mean_agreement(
        [agreement(photo, one) for photo, one in zip(photos, scaled, strict=True)]
    )
    return _Trial(value_range, output_range, found, finite, bool(outside))


def _chosen(name: str, trials: Sequence[_Trial]) -> _Trial:
    """Returns the first trial that fits, if no other fits much better."""
    # Where the output's range is open, 0..1 data fits into 0..255 as black: the nearest is meant.
    best: dict[ValueRange, _Trial] = {}
    for trial in filter(lambda one: one.fits, trials):
        known = best.get(trial.input)
        if known is None or trial.agreement.distance < known.agreement.distance:
            best[trial.input] = trial
    if not best:
        return trials[0]
    first, *others = best.values()
    distance = first.agreement.distance
    limit = min(_NEARER * distance, distance - _NEARER_BY)
    nearer = [trial for trial in others if trial.agreement.distance < limit]
    if not nearer:
        return first
    raise InputError(
        f"{name}: its value range is not clear. Its output follows the photo when it is fed "
        f"{' and when it is fed '.join(_pair(trial) for trial in (first, *nearer))}; "
        "the values that it was trained on must be given",
        remedy=GIVE_RANGES,
    )


def _pair(trial: _Trial) -> str:
    return f"{trial.input} (output {trial.output})"


def _nothing_fits(name: str, chosen: _Trial) -> InputError:
    fault = chosen.agreement.fault or "outside its value range"
    return InputError(
        f"{name}: with photos scaled to {chosen.input}, its output (taken as {chosen.output}) is "
        f"{fault}. The likely cause is that it was trained on another value range, such as -1..1 "
        "or 0..255",
        remedy=(*GIVE_RANGES, "; with both the network is converted whatever its output is"),
    )


def _reason(
    side: str, chosen: ValueRange, asked: ValueRange | None, evidence: Evidence | None
) -> str | None:
    if asked is not None:
        return None
    if evidence is not None:
        return f"{side} range {chosen}, because {evidence.reason}"
    if chosen == UNIT:
        return _ASSUMED.format(side)
    return f"{side} range {chosen}, because the output follows photos so"
