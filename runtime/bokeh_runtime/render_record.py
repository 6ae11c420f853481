"""Records the inputs of each result in a folder, so that a later run skips what is up to date."""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bokeh_runtime.atomic_output import AtomicOutput
from bokeh_runtime.depth_model import DepthModel
from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.folder_walk import RENDER_RECORD
from bokeh_runtime.model import BokehModel
from bokeh_runtime.render import RenderOptions
from bokeh_runtime.render_jobs import EMBEDDED, Job, comparison_path

RECORD = RENDER_RECORD
SCHEMA = "bokeh-tflite/render-record/2"
_SCHEMA_PREFIX = SCHEMA.rpartition("/")[0]
_SAVE_EVERY_S = 1.0
_REASONS = {
    "photo": "the photo changed",
    "model": "the model changed",
    "depth": "the depth map or depth model changed",
    "options": "the options changed",
    "placement": "the delegate or device changed",
    "version": "the version of bokeh-tflite changed",
    "comparison": "the comparison picture is missing",
}

Provenance = Mapping[str, Any]
"""Everything that determines the pixels of a result, as JSON; see `result_provenance`."""


class RenderRecord:
    """The file `.bokeh-render.json` of an output folder, with one entry for each existing result.

    A photo, depth map or result counts as unchanged if its size and modification time are. A result
    is rendered again if the record lacks it, or if it was modified after it was rendered.

    Args:
        folder: The output folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._added: dict[str, Any] = {}
        self._entries, self._missing_reason = _read_record(folder)
        self._last_saved_s = self._save_duration_s = 0.0

    def find_outdated(
        self, jobs: Sequence[Job], provenance: Mapping[Job, Provenance]
    ) -> tuple[list[Job], Counter[str]]:
        """Returns the jobs whose results are missing or not up to date.

        Args:
            jobs: Jobs whose results are in this folder or its subfolders.
            provenance: For each job, what its result would be rendered from now.

        Returns:
            The jobs to render, and how many of them replace an existing result, by reason.
        """
        outdated, reasons = [], Counter[str]()
        for job in jobs:
            if not job.output.is_file():
                outdated.append(job)
            elif reason := self._rerender_reason(job, provenance[job]):
                outdated.append(job)
                reasons[reason] += 1
        return outdated, reasons

    def add(self, job: Job, provenance: Provenance) -> None:
        """Adds a result that was written. Saves the record if that was not done recently."""
        self._added[self._name(job)] = {**provenance, "output": _file_stamp(job.output)}
        # Saving writes the whole record, so a large record is saved less often.
        if time.monotonic() - self._last_saved_s > max(_SAVE_EVERY_S, 20 * self._save_duration_s):
            self.save()

    def save(self) -> None:
        """Writes the record. Entries that another run added meanwhile are kept.

        An error is ignored, since without the record the photos are only rendered again.
        """
        start = time.monotonic()
        entries = {**self._entries, **_read_record(self._folder)[0], **self._added}
        existing = {
            name: entry for name, entry in entries.items() if (self._folder / name).is_file()
        }
        data = {"schema": SCHEMA, "results": existing}
        with contextlib.suppress(InputError), AtomicOutput(self._folder) as output:
            output.path(RECORD).write_text(json.dumps(data, indent=0), encoding="utf-8")
            output.commit()
        self._last_saved_s = time.monotonic()
        self._save_duration_s = self._last_saved_s - start

    def _name(self, job: Job) -> str:
        """Returns the key of a result: its path in the folder, with slashes on any system."""
        return job.output.relative_to(self._folder).as_posix()

    def _rerender_reason(self, job: Job, provenance: Provenance) -> str:
        """Returns why an existing result is not up to date; "" if it is."""
        entry = self._entries.get(self._name(job))
        if not isinstance(entry, dict):
            return self._missing_reason
        if entry.get("output") != _file_stamp(job.output):
            return "the result was modified"
        changed = [
            name for name in _REASONS if name in provenance if provenance[name] != entry.get(name)
        ]
        if "model" in changed and "placement" in changed:
            changed.remove("placement")  # the model determines which operators are delegated
        if not changed and "comparison" in provenance and not comparison_path(job).is_file():
            changed = ["comparison"]
        return " and ".join(_REASONS[name] for name in changed)


def result_provenance(
    job: Job, model: BokehModel, options: RenderOptions, depth_model: DepthModel | None
) -> dict[str, Any]:
    """Returns everything that determines the pixels of a job's result, as JSON."""
    placement = model.placement
    provenance: dict[str, Any] = {
        "photo": _file_stamp(job.photo),
        "model": model.sha256,
        "depth": _depth_provenance(job, options, depth_model),
        "options": {
            "strength": options.strength,
            "network_resolution": options.network_resolution,
            "quality": options.quality,
            **_graph_options(model),
        },
        "placement": {
            "delegate": placement.delegate,
            "device": placement.device,
            "precision": placement.precision,
            "delegated_ops": placement.delegated_ops,
        },
        "version": _version(),
    }
    # A run without comparisons keeps results that have one.
    return {**provenance, "comparison": True} if options.compare else provenance


def _graph_options(model: BokehModel) -> dict[str, str]:
    """Returns what was chosen of the file; nothing for a file of bokeh-convert as it is."""
    chosen = (
        {}
        if model.metadata and model.ranges == model.metadata.ranges
        else {"ranges": f"{model.ranges.input} {model.ranges.output}"}
    )
    if model.signature:
        chosen["signature"] = model.signature
    if model.metadata is None:
        chosen["size"] = f"{model.input_shape[0]}x{model.input_shape[1]}"
    return chosen


def _depth_provenance(
    job: Job, options: RenderOptions, depth_model: DepthModel | None
) -> Mapping[str, Any] | str | None:
    if job.depth is None:
        return depth_model.identity if depth_model else None
    if job.depth == EMBEDDED:
        return str(EMBEDDED)
    stamp = _file_stamp(job.depth)
    return {**stamp, "far_is_bright": True} if stamp and options.far_is_bright else stamp


def _read_record(folder: Path) -> tuple[dict[str, Any], str]:
    """Returns the entries of a record, and the reason to render a result that has no entry."""
    no_entry = f"not listed in {RECORD}"
    try:
        data = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}, no_entry
    if not isinstance(data, dict):
        return {}, no_entry
    schema, results = data.get("schema"), data.get("results")
    if schema == SCHEMA:
        return (results if isinstance(results, dict) else {}), no_entry
    if isinstance(schema, str) and schema.startswith(f"{_SCHEMA_PREFIX}/"):
        return {}, f"{RECORD} was written by another version of bokeh-tflite"
    return {}, no_entry


def _file_stamp(path: Path) -> dict[str, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return {"size_bytes": status.st_size, "mtime_ns": status.st_mtime_ns}


def _version() -> str:
    try:
        return version("bokeh-tflite")
    except PackageNotFoundError:
        return "unknown"
