"""Compares a report with an older one: regressions of latency and quality, and missing rows.

A check passes only for values that were compared. A value that is missing, not a number or
meaningless (a latency of 0) fails its row with the reason.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bokeh_bench.measure.rows import SCHEMA
from bokeh_bench.metric_options import option_name
from bokeh_bench.report.metric_regression import finite_number, metric_regressions
from bokeh_bench.report.older_schemas import upgrade
from bokeh_runtime.errors import InputError
from bokeh_runtime.metrics.psnr import summarize_psnr
from bokeh_runtime.metrics.registry import all_metrics


@dataclass(frozen=True)
class Limits:
    """Largest allowed regressions; None disables a check.

    Attributes:
        slowdown: Relative increase of the median latency: 0.05 is 5 %.
        psnr_drop_db: Decrease of the PSNR in dB. It is checked for each reference (full model and
            ground truth) and each protocol, for three values: the mean over the images that are
            not identical in either report, the PSNR of the pooled error of all images, and the
            worst image. An image that was identical must stay identical.
        metrics: Change for the worse of other metrics by their keys, such as {"grain": 0.05}, in
            the metric's own scale. It is checked in the same way, for the mean and the worst of the
            images that the metric is defined for.

    Raises:
        InputError: If a limit is not finite.
    """

    slowdown: float | None
    psnr_drop_db: float | None
    metrics: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for option, limit in (
            ("--max-slowdown", self.slowdown),
            ("--max-psnr-drop", self.psnr_drop_db),
            *((option_name(metric), self.metrics.get(metric.key)) for metric in all_metrics()),
        ):
            if limit is not None and not math.isfinite(limit):
                raise InputError(f"{option} {limit:g}: is not a limit; give a finite number")


def read_report(path: Path) -> dict[str, Any]:
    """Reads the report.json of an earlier run; one of an older schema is converted.

    Raises:
        InputError: If the file is missing, damaged, or not a report of a known schema.
    """
    try:
        # Python accepts NaN and Infinity, which are not valid JSON.
        data = json.loads(path.read_text(encoding="utf-8"), parse_constant=_reject_constant)
    except (OSError, ValueError) as error:
        cause = error.strerror if isinstance(error, OSError) else "is not valid JSON"
        raise InputError(f"{path}: {cause}; give a report.json of bokeh-bench") from error
    upgraded = upgrade(data) if isinstance(data, dict) else None
    if upgraded is None or upgraded.get("schema") != SCHEMA:
        raise InputError(
            f"{path}: is not a bokeh-bench report of schema {SCHEMA} or older; run bokeh-bench "
            "again to make one"
        )
    _check_structure(path, upgraded)
    return upgraded


def _check_structure(path: Path, data: Mapping[str, Any]) -> None:
    rows = data.get("rows")
    if not isinstance(rows, list) or not isinstance(data.get("environment"), dict):
        raise InputError(
            f"{path}: damaged report (no rows or no environment); run bokeh-bench again"
        )
    for row in rows:
        values = [row.get(key) for key in ("name", "failure")] if isinstance(row, dict) else [None]
        if not all(isinstance(value, str) for value in values):
            raise InputError(
                f"{path}: damaged report (a row without a name); run bokeh-bench again"
            )


def failures(old: Mapping[str, Any], new: Mapping[str, Any], limits: Limits) -> list[str]:
    """Returns the regressions, one line each. Rows are matched by name.

    A row that is missing from the new report, fails now or cannot be compared is a regression. A
    row that is new, or that failed before, is not.
    """
    found: list[str] = []
    rows = {row["name"]: row for row in new["rows"]}
    ran_before = [row for row in old["rows"] if not row["failure"]]
    if not ran_before:
        return ["the older report has no successful row to compare with; run bokeh-bench again"]
    for before in ran_before:
        name = before["name"]
        now = rows.get(name)
        if now is None:
            found.append(f"{name}: not measured in this run")
        elif now["failure"]:
            found.append(f"{name}: fails now ({now['failure']})")
        else:
            found += [f"{name}: {change}" for change in _regressions(before, now, limits)]
    return found


def warnings(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Returns why the comparison of the two reports may be invalid, one line each."""
    found = []
    for key in ("cpu", "cores", "governor", "system"):
        before, now = old["environment"].get(key), new["environment"].get(key)
        if before != now:
            found.append(f"the older report is from another machine ({key}: {before}, now {now})")
    if old.get("interrupted"):
        found.append("the older run was interrupted, so rows may be missing from its report")
    return found


def _regressions(
    before: Mapping[str, Any], now: Mapping[str, Any], limits: Limits
) -> Iterator[str]:
    if limits.slowdown is not None:
        yield from _latency_regressions(before, now, limits.slowdown)
    if limits.psnr_drop_db is not None or limits.metrics:
        yield from _quality_regressions(before, now, limits)


def _latency_regressions(
    before: Mapping[str, Any], now: Mapping[str, Any], allowed: float
) -> Iterator[str]:
    old_ms, new_ms = _median_ms(before), _median_ms(now)
    if old_ms is None:
        yield "not comparable: no latency in the older report; omit --max-slowdown"
    elif new_ms is None:
        yield "latency not measured in this run"
    elif not new_ms / old_ms - 1 <= allowed:
        yield (
            f"latency {new_ms / old_ms - 1:+.1%} ({old_ms:.1f} ms to {new_ms:.1f} ms; allowed: "
            f"+{allowed:.1%})"
        )


def _median_ms(row: Mapping[str, Any]) -> float | None:
    latency_ms = finite_number((row.get("latency") or {}).get("latency_ms"))
    return latency_ms if latency_ms is not None and latency_ms > 0 else None


def _quality_regressions(
    before: Mapping[str, Any], now: Mapping[str, Any], limits: Limits
) -> Iterator[str]:
    asked = "image quality" if limits.psnr_drop_db is None else "PSNR"
    measured = {_reference_of(fidelity): fidelity for fidelity in now.get("fidelity") or ()}
    older = before.get("fidelity") or ()
    if not older:
        yield f"not comparable: no {asked} in the older report; measure it with its reference pack"
    for fidelity in older:
        reference = _reference_of(fidelity)
        name = f"{reference[0].replace('_', ' ')}, protocol {reference[1]}"
        if reference not in measured:
            yield f"{asked} vs {name}: not measured in this run"
            continue
        if limits.psnr_drop_db is not None:
            for change in _psnr_regressions(fidelity, measured[reference], limits.psnr_drop_db):
                yield f"PSNR vs {name}: {change}"
        for metric in all_metrics():
            if metric.key in limits.metrics:
                for change in metric_regressions(
                    metric, fidelity, measured[reference], limits.metrics[metric.key]
                ):
                    yield f"{metric.label} vs {name}: {change}"


def _psnr_regressions(
    before: Mapping[str, Any], now: Mapping[str, Any], allowed_db: float
) -> Iterator[str]:
    old, new = _psnr_by_image(before), _psnr_by_image(now)
    for images, which in ((old, "older"), (new, "new")):
        if images is None:
            yield (
                f"not comparable: an image has no PSNR in the {which} report; run bokeh-bench of "
                "this version again"
            )
            return
    assert old is not None
    assert new is not None
    if [name for name, _ in old] != [name for name, _ in new]:
        yield "not comparable: the images differ from before; measure both on the same images"
        return
    pairs = [(old_db, new_db) for (_, old_db), (_, new_db) in zip(old, new, strict=True)]
    for (name, old_db), (_, new_db) in zip(old, new, strict=True):
        if old_db == math.inf != new_db:
            yield f"{name} was identical, now {new_db:.2f} dB"
    for statistic, old_db, new_db in _summaries(pairs):
        if not old_db - new_db <= allowed_db:
            yield (
                f"{statistic} {old_db:.2f} dB to {new_db:.2f} dB (allowed drop: {allowed_db:g} dB)"
            )


def _summaries(pairs: Sequence[tuple[float, float]]) -> Iterator[tuple[str, float, float]]:
    """Yields the name and both values of each statistic that is finite in both reports."""
    # Over the same images: one that became identical drops out of the mean, which could lower it.
    differing = [pair for pair in pairs if math.inf not in pair]
    if differing:
        old_mean, new_mean = (summarize_psnr(side).mean for side in zip(*differing, strict=True))
        yield "mean", old_mean, new_mean
    before, now = (summarize_psnr(side) for side in zip(*pairs, strict=True))
    for statistic in ("pooled", "worst"):
        old_db, new_db = getattr(before, statistic), getattr(now, statistic)
        if math.inf not in (old_db, new_db):  # images that were identical are reported by name
            yield statistic, old_db, new_db


def _psnr_by_image(fidelity: Mapping[str, Any]) -> list[tuple[str, float]] | None:
    """Returns each image's name and PSNR in dB; None if an image has no PSNR.

    The PSNR of an identical image is infinity. Reports written before `identical` was added have
    null both for an identical image and for a missing PSNR.
    """
    found = []
    for image in fidelity.get("images") or ():
        identical = image.get("psnr_db") is None and image.get("identical") is True
        psnr_db = math.inf if identical else finite_number(image.get("psnr_db"))
        if psnr_db is None:
            return None
        found.append((str(image.get("name")), psnr_db))
    return found or None


def _reject_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not valid JSON")


def _reference_of(fidelity: Mapping[str, Any]) -> tuple[str, str]:
    return str(fidelity.get("vs")), str(fidelity.get("protocol"))
