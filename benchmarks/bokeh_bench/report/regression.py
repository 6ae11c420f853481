"""Holds a report against an older one: what got slower, what got worse, what is gone.

A gate passes only what it has compared. A figure that is missing, is no number, or says nothing
(a time of 0) fails the row with the reason.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bokeh_bench.measure.rows import SCHEMA
from bokeh_runtime.errors import InputError
from bokeh_runtime.metrics.psnr import summarize_psnr


@dataclass(frozen=True)
class Limits:
    """What may change; None lets it.

    Attributes:
        slowdown: Of the median latency, as a share: 0.05 is 5 %.
        psnr_drop_db: Of each of these, against the full model and the ground truth, in each
            protocol: the mean PSNR over the images that differ in both reports, the PSNR of the
            pooled error of all images, and the worst image's. An image that was identical must stay
            so.
    """

    slowdown: float | None
    psnr_drop_db: float | None

    def __post_init__(self) -> None:
        for option, limit in (
            ("--max-slowdown", self.slowdown),
            ("--max-psnr-drop", self.psnr_drop_db),
        ):
            if limit is not None and not math.isfinite(limit):
                raise InputError(f"{option} {limit:g}: is no limit; give a number")


def read_report(path: Path) -> dict[str, Any]:
    """Reads the JSON of an earlier run.

    Raises:
        InputError: If it is missing, is damaged, or is no report of this version.
    """
    try:
        # Python reads NaN and Infinity, which JSON does not have.
        data = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except (OSError, ValueError) as error:
        cause = error.strerror if isinstance(error, OSError) else "is no JSON"
        raise InputError(f"{path}: {cause}; give a report.json of bokeh-bench") from error
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise InputError(f"{path}: is no report of schema {SCHEMA}; measure again")
    rows = data.get("rows")
    if not isinstance(rows, list) or not isinstance(data.get("environment"), dict):
        raise InputError(f"{path}: damaged report (no rows or no environment); measure again")
    for row in rows:
        words = [row.get(key) for key in ("name", "failure")] if isinstance(row, dict) else [None]
        if not all(isinstance(word, str) for word in words):
            raise InputError(f"{path}: damaged report (a row without a name); measure again")
    return data


def failures(old: Mapping[str, Any], new: Mapping[str, Any], limits: Limits) -> list[str]:
    """Returns what fails, in a line each; rows are told apart by their names.

    A row that is missing, cannot run any more or cannot be compared fails; a new row does not, nor
    one that could not run before.
    """
    found: list[str] = []
    rows = {row["name"]: row for row in new["rows"]}
    ran_before = [row for row in old["rows"] if not row["failure"]]
    if not ran_before:
        return ["the older report has no row that ran: nothing to compare with; measure it again"]
    for before in ran_before:
        name = before["name"]
        now = rows.get(name)
        if now is None:
            found.append(f"{name}: not measured this time")
        elif now["failure"]:
            found.append(f"{name}: ran before; now {now['failure']}")
        else:
            found += [f"{name}: {what}" for what in _changes(before, now, limits)]
    return found


def warnings(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Returns why the two may not be compared, in a line each."""
    found = []
    for key in ("cpu", "cores", "governor", "system"):
        before, now = old["environment"].get(key), new["environment"].get(key)
        if before != now:
            found.append(f"the older report is of another machine ({key}: {before}, now {now})")
    if old.get("interrupted"):
        found.append("the older report was interrupted: rows may be missing from it")
    return found


def _changes(before: Mapping[str, Any], now: Mapping[str, Any], limits: Limits) -> Iterator[str]:
    if limits.slowdown is not None:
        yield from _slower(before, now, limits.slowdown)
    if limits.psnr_drop_db is not None:
        measured = {_side(fidelity): fidelity for fidelity in now.get("fidelity") or ()}
        held = before.get("fidelity") or ()
        if not held:
            yield "no PSNR in the older report: not comparable; measure it with its reference pack"
        for fidelity in held:
            side = _side(fidelity)
            name = " ".join(side).replace("_", " ")
            if side not in measured:
                yield f"PSNR against {name} not measured this time"
                continue
            for what in _worse(fidelity, measured[side], limits.psnr_drop_db):
                yield f"PSNR against {name}: {what}"


def _slower(before: Mapping[str, Any], now: Mapping[str, Any], allowed: float) -> Iterator[str]:
    old_ms, new_ms = _median_ms(before), _median_ms(now)
    if old_ms is None:
        yield "no latency in the older report: not comparable; leave --max-slowdown away for it"
    elif new_ms is None:
        yield "latency not measured this time"
    elif not new_ms / old_ms - 1 <= allowed:
        yield (
            f"{new_ms / old_ms - 1:+.1%} latency ({old_ms:.1f} to {new_ms:.1f} ms; "
            f"{allowed:.1%} allowed)"
        )


def _median_ms(row: Mapping[str, Any]) -> float | None:
    found = _number((row.get("latency") or {}).get("latency_ms"))
    return found if found is not None and found > 0 else None


def _worse(before: Mapping[str, Any], now: Mapping[str, Any], allowed_db: float) -> Iterator[str]:
    old, new = _by_image(before), _by_image(now)
    for images, whose in ((old, "older"), (new, "new")):
        if images is None:
            yield (
                f"an image has no PSNR in the {whose} report: not comparable; measure again with "
                "this version"
            )
            return
    assert old is not None
    assert new is not None
    if [name for name, _ in old] != [name for name, _ in new]:
        yield "other images than before: not comparable; measure both on the same"
        return
    pairs = [(was, is_now) for (_, was), (_, is_now) in zip(old, new, strict=True)]
    for (name, was), (_, is_now) in zip(old, new, strict=True):
        if was == math.inf != is_now:
            yield f"{name} was identical, now {is_now:.2f} dB"
    for what, old_db, new_db in _figures(pairs):
        if not old_db - new_db <= allowed_db:
            yield f"{what} {old_db:.2f} dB, now {new_db:.2f} dB; {allowed_db:g} dB allowed"


def _figures(pairs: Sequence[tuple[float, float]]) -> Iterator[tuple[str, float, float]]:
    """Yields the figures that a limit holds for, where both reports have them."""
    # Of the same images: one that became identical leaves the mean, which lowers it.
    differing = [pair for pair in pairs if math.inf not in pair]
    if differing:
        was, is_now = (summarize_psnr(side).mean for side in zip(*differing, strict=True))
        yield "mean", was, is_now
    before, now = (summarize_psnr(side) for side in zip(*pairs, strict=True))
    for what in ("pooled", "worst"):
        was, is_now = getattr(before, what), getattr(now, what)
        if math.inf not in (was, is_now):  # who was identical has been told by name
            yield what, was, is_now


def _by_image(fidelity: Mapping[str, Any]) -> list[tuple[str, float]] | None:
    """Returns each image's PSNR by its name, infinity for an identical one; None if one has none.

    Older reports have null both for an identical image and for one without a PSNR.
    """
    found = []
    for image in fidelity.get("images") or ():
        identical = image.get("psnr_db") is None and image.get("identical") is True
        decibels = math.inf if identical else _number(image.get("psnr_db"))
        if decibels is None:
            return None
        found.append((str(image.get("name")), decibels))
    return found or None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _side(fidelity: Mapping[str, Any]) -> tuple[str, str]:
    return str(fidelity.get("vs")), str(fidelity.get("protocol"))
