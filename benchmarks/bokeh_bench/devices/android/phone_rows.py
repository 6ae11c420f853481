"""Report rows from what a phone or a browser has measured: statistics and fidelity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from bokeh_bench.devices.android.phone_answer import check_row
from bokeh_bench.measure.cases import ModelUnderTest
from bokeh_bench.measure.fidelity import measure_fidelity
from bokeh_bench.measure.latency import Latency
from bokeh_bench.measure.rows import Row
from bokeh_runtime.backends.placement import Placement
from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.photo import FloatImage


def row_or_failure(
    row: Row,
    entry: Mapping[str, Any],
    model: ModelUnderTest,
    folder: Path,
    source: str,
    remedy: str,
) -> Row:
    """Completes a row with what a phone has measured, or with why that cannot be read.

    Args:
        row: The row without results.
        entry: A row of `contract/schemas/android-result-2.json`.
        model: The model of the row.
        folder: Where the file of the outputs lies.
        source: Who has measured, such as "the browser", for the failure.
        remedy: What to do if the row cannot be read, for the failure.
    """
    try:
        check_row(entry, folder)
        return _row_of_answer(row, entry, model, folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        failure = f"the result of {source} cannot be read ({error}); {remedy}"
        return replace(row, failure=failure, failure_kind="hardware")


def _row_of_answer(row: Row, entry: Mapping[str, Any], model: ModelUnderTest, folder: Path) -> Row:
    """Completes a row with what a phone has measured.

    Args:
        row: The row without results.
        entry: A row of `contract/schemas/android-result-2.json` that `phone_answer` has checked.
        model: The model of the row.
        folder: Where the file of the outputs lies.

    Raises:
        OSError: If the file of the outputs is not there.
        ValueError: If the placement is inconsistent, or the outputs are not of their shape.
        KeyError: If something is missing.
    """
    if entry["failure"]:
        return replace(row, failure=entry["failure"], failure_kind="hardware")
    placement = _placement(row, entry["placement"])
    latency = Latency(
        entry["load_ms"], entry["first_inference_ms"], entry["warm_up_runs"], entry["runs_ms"]
    )
    notes = [*model.notes, *placement.notes, *latency.notes]
    outputs: list[FloatImage] = []
    if entry.get("outputs"):
        values = np.fromfile(folder / entry["outputs"], "<f4")
        raw = values.reshape(entry["output_shape"])  # in the network's own range
        outputs = list(model.ranges.output.to_unit(raw))
    try:
        fidelity, images, fidelity_notes = measure_fidelity(
            "full_model", zip(model.reference_samples, outputs, strict=True)
        )
    except InputError as error:
        return replace(row, failure=str(error), failure_kind="input")
    return replace(
        row,
        placement=placement,
        latency=latency,
        peak_rss_bytes=entry.get("peak_rss_bytes"),
        temperature_c=entry.get("temperature_c"),
        fidelity=fidelity,
        sample_images=images,
        operator_times_note="operators are not profiled on phones",
        notes=[*notes, *entry.get("notes", []), *fidelity_notes],
    )


def _placement(row: Row, entry: Mapping[str, Any]) -> Placement:
    """Returns the placement that the phone reports.

    Raises:
        ValueError: If it is inconsistent, or not the requested delegate.
    """
    known = {field.name for field in fields(Placement)}
    placement = Placement(**{k: v for k, v in entry.items() if k in known})
    placed, total = placement.delegated_ops, placement.total_ops
    if placed is not None and not 0 <= placed <= total:
        raise ValueError(f"{row.name}: {placed} of {total} ops delegated")
    if row.delegate not in ("auto", placement.delegate):
        raise ValueError(f"{row.name}: ran on {placement.delegate}")
    return placement
