"""Holds a report against an older one: what got slower, what got worse, what is gone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bokeh_bench.report import SCHEMA
from bokeh_runtime.errors import InputError


@dataclass(frozen=True)
class Limits:
    """What may change; None lets it.

    Attributes:
        slowdown: Of the median latency, as a share: 0.05 is 5 %.
        psnr_drop_db: Of the mean PSNR against the full model and the ground truth, each protocol.
    """

    slowdown: float | None
    psnr_drop_db: float | None


def read_report(path: Path) -> dict[str, Any]:
    """Reads the JSON of an earlier run.

    Raises:
        InputError: If it is missing, or is no report of this version.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        cause = error.strerror if isinstance(error, OSError) else "is no JSON"
        raise InputError(f"{path}: {cause}; give a report.json of bokeh-bench") from error
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise InputError(f"{path}: is no report of schema {SCHEMA}; measure again")
    return data


def failures(old: Mapping[str, Any], new: Mapping[str, Any], limits: Limits) -> list[str]:
    """Returns what fails, in a line each; rows are told apart by their names.

    A row that is missing or cannot run any more fails; a new row does not.
    """
    found: list[str] = []
    rows = {row["name"]: row for row in new["rows"]}
    for before in old["rows"]:
        name = before["name"]
        now = rows.get(name)
        if before["failure"]:
            continue
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
    return found


def _changes(before: Mapping[str, Any], now: Mapping[str, Any], limits: Limits) -> list[str]:
    found = []
    if limits.slowdown is not None and before["latency"] and now["latency"]:
        old_ms, new_ms = before["latency"]["latency_ms"], now["latency"]["latency_ms"]
        slowdown = new_ms / old_ms - 1
        if slowdown > limits.slowdown:
            found.append(
                f"{slowdown:+.1%} latency ({old_ms:.1f} to {new_ms:.1f} ms; "
                f"{limits.slowdown:.1%} allowed)"
            )
    if limits.psnr_drop_db is not None:
        measured = {_side(fidelity): fidelity for fidelity in now["fidelity"]}
        for fidelity in before["fidelity"]:
            found += _worse(fidelity, measured.get(_side(fidelity)), limits.psnr_drop_db)
    return found


def _worse(
    before: Mapping[str, Any], now: Mapping[str, Any] | None, allowed_db: float
) -> Sequence[str]:
    side = " ".join(_side(before)).replace("_", " ")
    if now is None:
        return [f"PSNR against {side} not measured this time"]
    old_db, new_db = before["psnr_db_mean"], now["psnr_db_mean"]
    if new_db is None:  # identical pictures
        return []
    if old_db is None or old_db - new_db > allowed_db:
        was = "identical" if old_db is None else f"{old_db:.2f} dB"
        return [f"PSNR against {side}: {was}, now {new_db:.2f} dB; {allowed_db:g} dB allowed"]
    return []


def _side(fidelity: Mapping[str, Any]) -> tuple[str, str]:
    return fidelity["vs"], fidelity["protocol"]
