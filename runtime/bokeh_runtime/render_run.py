"""One run of `bokeh-render`: opens the models, renders a photo or a folder, and reports."""

from __future__ import annotations

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
from bokeh_runtime.render_depth import find_depth_maps
from bokeh_runtime.render_jobs import Job, find_jobs
from bokeh_runtime.render_record import Outdated, RenderRecord, result_provenance

SCHEMA = "bokeh-tflite/render/2"


@dataclass(frozen=True)
class RenderRequest:
    """The arguments of one run.

    Attributes:
        photo, output, depth: Paths, see `find_jobs`. `photo` must not be None.
        options: Rendering options.
        open_model: Opens the model.
        open_depth_model: Opens the depth model; None if none is used.
        overwrite: Whether to render results of a folder again that are up to date.
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
    """The result of a run.

    Attributes:
        results: The photos that were rendered.
        failures: The photos that could not be rendered, and why.
        up_to_date: Number of photos whose result was up to date.
        kept_edited: Number of results that were modified after rendering, and were kept.
        rerendered: Number of photos whose existing result was replaced, by reason.
    """

    results: Sequence[RenderedFile]
    failures: Sequence[tuple[Job, str]] = ()
    up_to_date: int = 0
    kept_edited: int = 0
    rerendered: Mapping[str, int] = field(default_factory=dict)


def render_photos(
    request: RenderRequest, console: Console, check: Callable[[], None]
) -> dict[str, Any]:
    """Renders photos, prints a summary, and returns the report as JSON.

    Args:
        request: The arguments of the run.
        console: Where to print the progress and the summary.
        check: Raises KeyboardInterrupt if a library swallowed a Ctrl-C.

    Raises:
        InputError: If a path or the model is invalid, or a single photo cannot be rendered.
        HardwareError: If the requested delegate cannot run the model.
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
        is_given = depth_model is not None or request.depth is not None
        if model.takes_depth and not is_given:
            jobs, found = find_depth_maps(jobs, model)
            notes = [*notes, *found]
        else:  # checked once, before the first photo of a folder
            model.check_depth(given=is_given)
        notes = [*notes, *model.notes]
        for note in notes:
            click.echo(f"note: {note}", file=console.file)
        if request.photo.is_dir():
            outcome = _render_folder(request, jobs, model, depth_model, console, check)
            show_summary(console, outcome.results, outcome.failures, outcome.up_to_date)
        else:
            with spinner(console, f"rendering {jobs[0].photo.name}"):
                outcome = _Outcome([render_file(model, jobs[0], request.options, depth_model)])
            show_result(console, outcome.results[0])
    return _report(model, notes, outcome)


def _render_folder(
    request: RenderRequest,
    jobs: Sequence[Job],
    model: BokehModel,
    depth_model: DepthModel | None,
    console: Console,
    check: Callable[[], None],
) -> _Outcome:
    """Renders the photos whose results are not up to date. A failure does not stop the others."""
    assert request.output is not None  # checked by find_jobs for a folder
    record = RenderRecord(request.output)
    provenance = {job: result_provenance(job, model, request.options, depth_model) for job in jobs}
    outdated = Outdated(list(jobs))
    if not request.overwrite:
        outdated = record.find_outdated(jobs, provenance)
    _show_outdated(outdated, console)
    record.begin(outdated.jobs)
    results: list[RenderedFile] = []
    failures: list[tuple[Job, str]] = []
    with progress_bar(console, len(outdated.jobs)) as advance:
        outcomes = render_files(model, outdated.jobs, request.options, depth_model)
        try:
            for job, outcome in zip(outdated.jobs, outcomes, strict=True):
                if isinstance(outcome, InputError):
                    failures.append((job, str(outcome)))
                else:
                    results.append(outcome)
                    record.add(job, provenance[job])
                advance(job.photo.name)
                check()
        except BaseException:
            record.save()  # a result may have been written that is not recorded yet
            raise
        record.end()
    up_to_date = len(jobs) - len(outdated.jobs) - outdated.edited
    return _Outcome(results, failures, up_to_date, outdated.edited, outdated.reasons)


def _show_outdated(outdated: Outdated, console: Console) -> None:
    for reason, count in outdated.reasons.items():
        photos = "1 photo" if count == 1 else f"{count} photos"
        click.echo(f"rendering {photos} again: {reason}", file=console.file)
    if count := outdated.edited:
        results = "1 result that was" if count == 1 else f"{count} results that were"
        what = f"keeping {results} modified after rendering"
        click.echo(f"{what}; --overwrite renders again", file=console.file)


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
        "failures": [{"photo": str(job.photo), "error": error} for job, error in outcome.failures],
        "up_to_date": outcome.up_to_date,
        "kept_edited": outcome.kept_edited,
        "rerendered": [
            {"reason": reason, "photos": count} for reason, count in outcome.rerendered.items()
        ],
    }
