"""Records the inputs of each result in a folder, so that a later run skips what is up to date."""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bokeh_runtime.atomic_output import AtomicOutput
from bokeh_runtime.depth_model import DepthModel
from bokeh_runtime.errors import Argument, InputError
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


@dataclass(frozen=True)
class Outdated:
    """The results of a folder that are missing or not up to date.

    Attributes:
        jobs: The jobs to render.
        reasons: How many of them replace an existing result, by reason.
        edited: How many existing results were modified after they were rendered. They are none of
            `jobs`, since the edit would be lost.
    """

    jobs: list[Job]
    reasons: Counter[str] = field(default_factory=Counter)
    edited: int = 0


class RenderRecord:
    """The file `.bokeh-render.json` of an output folder, with one entry for each existing result.

    A photo, depth map or result counts as unchanged if its size and modification time are.

    Args:
        folder: The output folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._added: dict[str, Any] = {}
        self._begun: set[str] = set()
        self._earlier = _read_record(folder)
        self._last_saved_s = self._save_duration_s = 0.0

    def find_outdated(self, jobs: Sequence[Job], provenance: Mapping[Job, Provenance]) -> Outdated:
        """Finds the results that are missing or not up to date.

        Args:
            jobs: Jobs whose results are in this folder or its subfolders.
            provenance: For each job, what its result would be rendered from now.

        Raises:
            InputError: If a result would replace a file that is no result of this program.
        """
        found = Outdated([])
        edited, foreign = 0, []
        for job in jobs:
            if not job.output.exists():
                found.jobs.append(job)
            elif not self._is_result(job):
                foreign.append(job.output)
            elif self._is_edited(job):
                edited += 1
            elif reason := self._rerender_reason(job, provenance[job]):
                found.jobs.append(job)
                found.reasons[reason] += 1
        if foreign:
            others = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
            raise InputError(
                f"{foreign[0]}{others}: would be replaced, and bokeh-render did not write it",
                remedy=(
                    *("choose another ", Argument("output")),
                    *(", or give ", Argument("overwrite"), " to replace it"),
                ),
            )
        return replace(found, edited=edited)

    def begin(self, jobs: Sequence[Job]) -> None:
        """Records which results are going to be written, should the run not reach its end."""
        self._begun = {self._name(job) for job in jobs}
        self.save()
        self._last_saved_s = 0.0  # so that the first result is recorded at once

    def end(self) -> None:
        """Saves the record for the last time."""
        unfinished, self._begun = self._begun, set()
        self.save(forget=unfinished)

    def add(self, job: Job, provenance: Provenance) -> None:
        """Adds a result that was written. Saves the record if that was not done recently."""
        self._added[self._name(job)] = {**provenance, "output": _file_stamp(job.output)}
        # Saving writes the whole record, so a large record is saved less often.
        if time.monotonic() - self._last_saved_s > max(_SAVE_EVERY_S, 20 * self._save_duration_s):
            self.save()

    def save(self, forget: Collection[str] = ()) -> None:
        """Writes the record. What another run added meanwhile is kept.

        An error is ignored, since the results do not depend on the record.

        Args:
            forget: Results that this run does not write any more.
        """
        start = time.monotonic()
        current = _read_record(self._folder)
        entries = {**self._earlier.entries, **current.entries, **self._added}
        existing = {
            name: entry for name, entry in entries.items() if (self._folder / name).is_file()
        }
        begun = (self._begun | current.begun) - set(self._added) - set(forget)
        data = {"schema": SCHEMA, "results": existing, "begun": sorted(begun)}
        with contextlib.suppress(InputError), AtomicOutput(self._folder) as output:
            output.path(RECORD).write_text(json.dumps(data, indent=0), encoding="utf-8")
            output.commit()
        self._last_saved_s = time.monotonic()
        self._save_duration_s = self._last_saved_s - start

    def _name(self, job: Job) -> str:
        """Returns the key of a result: its path in the folder, with slashes on any system."""
        return job.output.relative_to(self._folder).as_posix()

    def _is_result(self, job: Job) -> bool:
        """Whether this program wrote an existing file. All of a damaged record's folder count."""
        name, earlier = self._name(job), self._earlier
        return bool(earlier.damage) or name in earlier.entries or name in earlier.begun

    def _is_edited(self, job: Job) -> bool:
        name = self._name(job)
        entry = self._earlier.entries.get(name)
        if not isinstance(entry, dict) or "output" not in entry or name in self._earlier.begun:
            return False
        return bool(entry["output"] != _file_stamp(job.output))

    def _rerender_reason(self, job: Job, provenance: Provenance) -> str:
        """Returns why an existing result is not up to date; "" if it is."""
        name = self._name(job)
        if name in self._earlier.begun:
            return "an earlier run did not reach its end"
        entry = self._earlier.entries.get(name)
        if not isinstance(entry, dict):
            return self._earlier.damage or f"{RECORD} is damaged"
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


@dataclass(frozen=True)
class _Record:
    """What a record file says.

    Attributes:
        entries: The provenance of each result, by its name.
        begun: Names of results that a run was going to write that did not reach its end.
        damage: Why there are no entries, though there is a file; "" if nothing is wrong.
    """

    entries: Mapping[str, Any] = field(default_factory=dict)
    begun: frozenset[str] = frozenset()
    damage: str = ""


def _read_record(folder: Path) -> _Record:
    damaged = _Record(damage=f"{RECORD} is damaged")
    try:
        data = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return _Record()
    except (OSError, ValueError, RecursionError):
        return damaged
    if not isinstance(data, dict):
        return damaged
    schema, results, begun = data.get("schema"), data.get("results"), data.get("begun", [])
    if schema == SCHEMA and isinstance(results, dict) and isinstance(begun, list):
        return _Record(results, frozenset(name for name in begun if isinstance(name, str)))
    if isinstance(schema, str) and schema.startswith(f"{_SCHEMA_PREFIX}/") and schema != SCHEMA:
        return _Record(damage=f"{RECORD} was written by another version of bokeh-tflite")
    return damaged


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
