"""Converts reports of older schemas to the current one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bokeh_bench.measure.rows import SCHEMA

SCHEMA_1 = "bokeh-tflite/bench/1"
_ROW_KEYS = {"operators": "operator_times", "operators_note": "operator_times_note"}
_OPERATOR_KEYS = {"kind": "node_type", "ms": "time_ms"}
_COMPARISON_KEYS = {"turns": "runs_per_model"}
_RATIO_KEYS = {"low": "ci95_low", "high": "ci95_high"}


def upgrade(report: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a report with the keys of the current schema; others than schema 1 are unchanged.

    A row's `placement` keeps the keys that it was written with: no comparison reads it.
    """
    if report.get("schema") != SCHEMA_1:
        return dict(report)
    upgraded = {**_renamed(report, {"pair": "paired_comparison"}), "schema": SCHEMA}
    rows = upgraded.get("rows")
    if isinstance(rows, list):
        upgraded["rows"] = [_row(row) for row in rows]
    comparison = upgraded.get("paired_comparison")
    if isinstance(comparison, dict):
        comparison = _renamed(comparison, _COMPARISON_KEYS)
        comparison["latency_ratio"] = _renamed(comparison.get("latency_ratio"), _RATIO_KEYS)
        upgraded["paired_comparison"] = comparison
    return upgraded


def _row(row: Any) -> Any:
    row = _renamed(row, _ROW_KEYS)
    if isinstance(row, dict) and isinstance(row.get("operator_times"), list):
        row["operator_times"] = [_renamed(one, _OPERATOR_KEYS) for one in row["operator_times"]]
    return row


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """Returns a dictionary with other keys; a damaged report's other values are unchanged."""
    if not isinstance(value, Mapping):
        return value
    return {names.get(key, key): item for key, item in value.items()}
