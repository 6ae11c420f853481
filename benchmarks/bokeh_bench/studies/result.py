"""The JSON of a study: its rows, and what they were measured with."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from bokeh_bench.machine import environment
from bokeh_runtime.atomic_output import AtomicOutput

SCHEMA = "bokeh-tflite/study/1"


def study_data(
    study: str,
    options: Mapping[str, Any],
    models: Sequence[Path],
    rows: Mapping[str, Sequence[Any]],
) -> dict[str, Any]:
    """Returns the JSON data of a study.

    Args:
        study: Its name, as `bokeh-bench study` takes it.
        options: The options that it was called with. Of paths only the last part is kept.
        models: The files that were measured or converted; they are hashed.
        rows: Data classes, by the key that they get in the JSON.
    """
    return {
        "schema": SCHEMA,
        "study": study,
        "options": {name: _plain(value) for name, value in options.items()},
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "environment": environment(),
        "models": [{"name": path.name, "sha256": _sha256(path)} for path in models],
        **{key: [_finite(asdict(row)) for row in some] for key, some in rows.items()},
    }


def to_json(data: Mapping[str, Any]) -> str:
    """Returns the data as text, indented and with non-ASCII characters as they are."""
    return json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False)


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Writes the data to a file, which appears whole or not at all.

    Raises:
        InputError: If the folder cannot be written to.
    """
    with AtomicOutput(path.parent) as output:
        output.path(path.name).write_text(to_json(data) + "\n", encoding="utf-8")
        output.commit()


def _sha256(path: Path) -> str | None:
    """Returns the hash of a file; None for a folder, or a prefix of several files."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return value.name
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


def _finite(value: Any) -> Any:
    """Replaces the PSNR of identical images, infinity, by None: JSON has no number for it."""
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
