"""Records what made each result of a folder, so that a later run knows which are up to date."""

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
from bokeh_runtime.model import BokehModel
from bokeh_runtime.render import RenderOptions
from bokeh_runtime.render_jobs import Job, comparison_path

RECORD = ".bokeh-render.json"
SCHEMA = "bokeh-tflite/render-record/1"
_SAVE_EVERY_S = 1.0
_CAUSES = {
    "photo": "the photo was changed",
    "model": "another model",
    "depth": "another depth map or network",
    "options": "other options",
    "placement": "another delegate or device",
    "version": "another version of bokeh-tflite",
    "comparison": "no comparison picture",
}

Provenance = Mapping[str, Any]


class RenderRecord:
    """The file `.bokeh-render.json` of an output folder: one entry for each result that is there.

    A file of photo, depth map or result counts as unchanged if its size and its time of change are.
    What a damaged or missing record does not hold is rendered again, and so is a result that was
    changed since.

    Args:
        folder: The output folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._added: dict[str, Any] = {}
        self._entries = _read(folder)
        self._saved_at = self._save_took = 0.0

    def outstanding(
        self, jobs: Sequence[Job], provenance: Mapping[Job, Provenance]
    ) -> tuple[list[Job], Counter[str]]:
        """Returns the jobs that are to be done.

        Args:
            jobs: Of this folder.
            provenance: What each job's result is to be made from; see `result_provenance`.

        Returns:
            The jobs, and for those whose result is there but not up to date, how many are done
            again for which cause.
        """
        todo, again = [], Counter[str]()
        for job in jobs:
            if not job.output.is_file():
                todo.append(job)
            elif cause := self._cause(job, provenance[job]):
                todo.append(job)
                again[cause] += 1
        return todo, again

    def add(self, job: Job, provenance: Provenance) -> None:
        """Takes down a result that was written; saves if the last time was a while ago."""
        self._added[job.output.name] = {**provenance, "output": _stamp(job.output)}
        # The whole record is written each time: of a large one, less often.
        if time.monotonic() - self._saved_at > max(_SAVE_EVERY_S, 20 * self._save_took):
            self.save()

    def save(self) -> None:
        """Writes the record; what another run into the folder took down meanwhile is kept.

        A record that cannot be written costs nothing but another rendering.
        """
        began = time.monotonic()
        entries = {**self._entries, **_read(self._folder), **self._added}
        there = {name: entry for name, entry in entries.items() if (self._folder / name).is_file()}
        data = {"schema": SCHEMA, "results": there}
        with contextlib.suppress(InputError), AtomicOutput(self._folder) as staging:
            staging.path(RECORD).write_text(json.dumps(data, indent=0), encoding="utf-8")
            staging.commit()
        self._saved_at = time.monotonic()
        self._save_took = self._saved_at - began

    def _cause(self, job: Job, provenance: Provenance) -> str:
        """Says why a result that is there is not up to date; "" if it is."""
        entry = self._entries.get(job.output.name)
        if not isinstance(entry, dict):
            return "no record of what they were made from"
        if entry.get("output") != _stamp(job.output):
            return "the result was changed"
        differs = [
            name for name in _CAUSES if name in provenance if provenance[name] != entry.get(name)
        ]
        if "model" in differs and "placement" in differs:
            differs.remove("placement")  # a delegate takes other operators of another model
        if not differs and "comparison" in provenance and not comparison_path(job).is_file():
            differs = ["comparison"]
        return " and ".join(_CAUSES[name] for name in differs)


def result_provenance(
    job: Job, model: BokehModel, options: RenderOptions, depth_model: DepthModel | None
) -> dict[str, Any]:
    """Returns all that decides a result's pixels, as JSON holds it."""
    placement = model.placement
    depth = depth_model.identity if depth_model else None
    provenance: dict[str, Any] = {
        "photo": _stamp(job.photo),
        "model": model.sha256,
        "depth": _stamp(job.depth) if job.depth is not None else depth,
        "options": {
            "strength": options.strength,
            "network_resolution": options.network_resolution,
            "quality": options.quality,
        },
        "placement": {
            "delegate": placement.delegate,
            "device": placement.device,
            "precision": placement.precision,
            "delegated_ops": placement.delegated_ops,
        },
        "version": _version(),
    }
    # A result that has one is up to date for a run that does not ask for it.
    return {**provenance, "comparison": True} if options.compare else provenance


def _read(folder: Path) -> dict[str, Any]:
    try:
        data = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        return {}
    results = data.get("results")
    return results if isinstance(results, dict) else {}


def _stamp(path: Path) -> dict[str, int] | None:
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
