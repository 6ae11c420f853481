"""One run of `bokeh-render`: opens the models, renders a photo or a folder, and reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from bokeh_runtime.console import progress_bar, show_result, show_summary, spinner
from bokeh_runtime.depth_model import DepthModel
from bokeh_runtime.errors import Argument, InputError
from bokeh_runtime.model import BokehModel
from bokeh_runtime.render import RenderedFile, RenderOptions, render_file, render_files
from bokeh_runtime.render_jobs import Job, find_jobs
from bokeh_runtime.render_record import RenderRecord, result_provenance

SCHEMA = "bokeh-tflite/render/1"


@dataclass(frozen=True)
class RenderRequest:
    """What was asked for.

    Attributes:
        photo, output, depth: As `find_jobs` takes them; a photo must be given.
        options: How to render.
        open_model: Opens the model.
        open_depth_model: Opens the depth network; None if none is used.
        overwrite: In a folder, render what is up to date too.
    """

    photo: Path | None
    output: Path | None
    depth: Path | None
    options: RenderOptions
    open_model: Callable[[], BokehModel]
    open_depth_model: Callable[[], DepthModel] | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class _Outcome:
    """What came of the photos.

    Attributes:
        results: Of those that were rendered.
        failures: Those that were not, and why.
        done: How many were up to date.
        again: How many were rendered again, for which cause.
    """

    results: Sequence[RenderedFile]
    failures: Sequence[tuple[Job, str]] = ()
    done: int = 0
    again: Mapping[str, int] = field(default_factory=dict)


def render_photos(
    request: RenderRequest, console: Console, check: Callable[[], None]
) -> dict[str, Any]:
    """Renders, shows what came out, and returns the report.

    Args:
        request: What was asked for.
        console: Where to show it.
        check: Ends the work if a Ctrl-C was lost.

    Raises:
        InputError: If a path or the model is wrong, or the only photo cannot be rendered.
        HardwareError: If the model does not run where it should.
    """
    if request.photo is None:
        raise InputError("no photo given; give a photo or a folder of photos")
    if request.depth is not None and request.open_depth_model is not None:
        raise InputError(
            *(Argument("depth"), " and ", Argument("depth_model"), " cannot be used together"),
            remedy=("give one of them",),
        )
    jobs, notes = find_jobs(request.photo, request.output, request.depth)
    with ExitStack() as opened:
        with spinner(console, "opening the model"):
            model = opened.enter_context(request.open_model())
            depth_model = request.open_depth_model() if request.open_depth_model else None
            if depth_model is not None:
                opened.callback(depth_model.close)
        check()
        if jobs:  # checked once, before the first photo of a folder
            _check_depth(model, given=depth_model is not None or jobs[0].depth is not None)
        notes = [*notes, *model.notes]
        for note in notes:
            click.echo(f"note: {note}", file=console.file)
        if request.photo.is_dir():
            outcome = _render_folder(request, jobs, model, depth_model, console, check)
            show_summary(console, outcome.results, outcome.failures, outcome.done)
        else:
            with spinner(console, f"rendering {jobs[0].photo.name}"):
                outcome = _Outcome([render_file(model, jobs[0], request.options, depth_model)])
            show_result(console, outcome.results[0])
    return _report(model, notes, outcome)


def _check_depth(model: BokehModel, *, given: bool) -> None:
    if model.takes_depth and not given:  # unlike the library, the command has two options for it
        raise InputError(
            f"{model.path}: needs a depth map",
            remedy=("give ", Argument("depth"), " or ", Argument("depth_model")),
        )
    model.check_depth(given=given)


def _render_folder(
    request: RenderRequest,
    jobs: Sequence[Job],
    model: BokehModel,
    depth_model: DepthModel | None,
    console: Console,
    check: Callable[[], None],
) -> _Outcome:
    """Renders the photos that are not up to date; one that fails stops no other."""
    record = RenderRecord(jobs[0].output.parent)
    provenance = {job: result_provenance(job, model, request.options, depth_model) for job in jobs}
    todo, again = jobs, Counter[str]()
    if not request.overwrite:
        todo, again = record.outstanding(jobs, provenance)
    for cause, count in again.items():
        click.echo(f"rendering {count} again: {cause}", file=console.file)
    results: list[RenderedFile] = []
    failures: list[tuple[Job, str]] = []
    with progress_bar(console, len(todo)) as advance:
        outcomes = render_files(model, todo, request.options, depth_model)
        try:
            for job, outcome in zip(todo, outcomes, strict=True):
                if isinstance(outcome, InputError):
                    failures.append((job, str(outcome)))
                else:
                    results.append(outcome)
                    record.add(job, provenance[job])
                advance(job.photo.name)
                check()
        finally:
            record.save()
    return _Outcome(results, failures, len(jobs) - len(todo), again)


def _report(model: BokehModel, notes: Sequence[str], outcome: _Outcome) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "model": str(model.path),
        "placement": asdict(model.placement),
        "notes": list(notes),
        "photos": [
            {
                "photo": str(rendered.photo),
                "output": str(rendered.output),
                "height": rendered.height,
                "width": rendered.width,
                "timings": dict(rendered.timings),
                "notes": list(rendered.notes),
            }
            for rendered in outcome.results
        ],
        "failures": [{"photo": str(job.photo), "cause": cause} for job, cause in outcome.failures],
        "done_already": outcome.done,
        "rendered_again": [
            {"cause": cause, "photos": count} for cause, count in outcome.again.items()
        ],
    }
