"""Reads what a phone answers, believing nothing of it but numbers and texts.

The phone, its app and whoever holds it may be anybody's: an answer names no file of this machine,
holds no number that JSON or a median cannot, and puts no control character on the terminal.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bokeh_runtime.errors import printable

_MOST_BYTES = 64 << 20
_NUMBER = (int, float)
_LARGEST = 1e15
"""More than any time in ms or memory in bytes; a Python integer may be too large for a float."""


def read_answer(path: Path) -> dict[str, Any]:
    """Reads a `result.json`; its format is `contract/schemas/android-result-2.json`.

    The rows are not checked; see `check_row`. Keys that this version does not know are not read.

    Raises:
        OSError: If it is not there.
        ValueError: If it is not what the contract says.
    """
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"{path.stat().st_size} bytes long")
    try:
        answer = _plain(json.loads(path.read_text(encoding="utf-8")))
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    if not isinstance(answer, dict):
        raise ValueError("no JSON object")
    return answer


def read_row(content: bytes, folder: Path) -> dict[str, Any]:
    """Reads one row of an answer, from its JSON.

    Args:
        content: The row as JSON.
        folder: Where the file of its outputs must lie.

    Raises:
        ValueError: If it is not what the contract says.
        KeyError: If something is missing.
    """
    try:
        row = _plain(json.loads(content))
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    check_row(row, folder)
    return dict(row)


def _plain(value: Any) -> Any:
    """Returns a copy with printable texts; raises ValueError for NaN and infinity."""
    if isinstance(value, dict):
        return {printable(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"holds {value}")
    return printable(value) if isinstance(value, str) else value


def check_row(row: Any, folder: Path) -> None:
    """Refuses a row of an answer that would break the report.

    Args:
        row: The row, as `read_answer` returns it.
        folder: Where the file of its outputs must lie.

    Raises:
        ValueError: If it is not what the contract says.
        KeyError: If something is missing.
    """
    _check("a row", row, lambda one: isinstance(one, dict))
    _check("failure", row["failure"], _is_text)
    if row["failure"]:
        return
    _check("placement", row["placement"], lambda one: isinstance(one, dict))
    for name, value in row["placement"].items():
        if name in _PLACEMENT:
            _check(f"placement {name}", value, _PLACEMENT[name])
    for name in ("load_ms", "first_inference_ms", "warm_up_runs"):
        _check(name, row[name], _is_number)
    _check("runs_ms", row["runs_ms"], _is_numbers)
    if not statistics.median(row["runs_ms"]):  # a browser may round its clock to 100 ms
        raise ValueError("most runs took 0 ms; the clock is too coarse for this model")
    _check("peak_rss_bytes", row.get("peak_rss_bytes", 0) or 0, _is_number)
    for one in row.get("temperature_c") or []:
        _check("temperature_c", one or 0, lambda one: isinstance(one, _NUMBER))
    _check("notes", row.get("notes", []), _are_texts)
    outputs = row.get("outputs")
    if outputs:
        _check("outputs", outputs, lambda name: _is_beside(name, folder))
        _check("output_shape", row["output_shape"], _is_shape)


def _check(name: str, value: Any, fits: Callable[[Any], bool]) -> None:
    if not fits(value):
        raise ValueError(f"{name} is {str(value)[:60]}")


def _is_number(value: Any) -> bool:
    return isinstance(value, _NUMBER) and not isinstance(value, bool) and 0 <= value < _LARGEST


def _is_numbers(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_number, value))


def _is_shape(value: Any) -> bool:
    return isinstance(value, list) and all(type(one) is int and one > 0 for one in value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_beside(name: Any, folder: Path) -> bool:
    """Says whether a file lies in the folder that was copied from the phone."""
    if not isinstance(name, str) or name == ".." or Path(name).name != name:
        return False
    return not (folder / name).is_symlink()


def _or_none(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or fits(value)


_PLACEMENT: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("requested", "delegate", "device", "precision"), _is_text),
    "total_ops": _is_count,
    **dict.fromkeys(("delegated_ops", "partitions"), _or_none(_is_count)),
    "unsupported_ops": _or_none(_are_texts),
    "reasons": lambda value: isinstance(value, dict) and all(map(_is_text, value.values())),
    "notes": _are_texts,
}
