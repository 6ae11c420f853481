"""The command `bokeh-render`."""

from __future__ import annotations

import gc
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from bokeh_runtime.backends.delegates import DELEGATES, probe
from bokeh_runtime.backends.interpreter import INTERPRETERS
from bokeh_runtime.backends.native_log import quiet
from bokeh_runtime.depth_model import DEPTH_INPUTS, DepthModel
from bokeh_runtime.errors import HardwareError, InputError
from bokeh_runtime.interrupt import INTERRUPTED, interruptible
from bokeh_runtime.model import BokehModel
from bokeh_runtime.render import (
    Job,
    Options,
    Rendered,
    check_case,
    check_job,
    jobs_for_folder,
    render_file,
    render_files,
    result_name,
)
from bokeh_runtime.render_record import MadeFrom, RenderRecord, sources

WIDTH_IN_A_PIPE = 120
SCHEMA = "bokeh-tflite/render/1"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("photo", required=False, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="The result, JPEG, PNG, WebP, AVIF or TIFF by its suffix; for a folder of photos, a "
    "folder. Without it, NAME.bokeh.jpg beside the photo.",
)
@click.option(
    "-m",
    "--model",
    type=click.Path(path_type=Path),
    help="A .tflite file; without it, the demo model that ships with the package.",
)
@click.option(
    "-d",
    "--delegate",
    type=click.Choice(DELEGATES),
    default="auto",
    show_default=True,
    help="What runs the network. auto takes the first of npu, gpu and cpu that runs all of it and "
    "draws the right picture; any other is an error where it cannot.",
)
@click.option(
    "--delegate-library",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The delegate's shared library, for boards that have one.",
)
@click.option(
    "--allow-partial",
    is_flag=True,
    help="Let the CPU run the operators that the delegate does not take.",
)
@click.option("--list-delegates", is_flag=True, help="Say which delegates are here, and end.")
@click.option(
    "--interpreter",
    type=click.Choice(list(INTERPRETERS)),
    help="Without it, the first of these that is installed.",
)
@click.option("--threads", type=click.IntRange(min=1), help="Of the CPU; all cores unless given.")
@click.option(
    "--depth",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="For a model that takes depth: a map of any size, near is bright, 8 or 16 bits or PFM; "
    "for a folder of photos, a folder of maps of the same names.",
)
@click.option(
    "--depth-model",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Draw the depth map with this .tflite file of a monocular depth network.",
)
@click.option(
    "--depth-input",
    type=click.Choice(list(DEPTH_INPUTS)),
    default="imagenet",
    show_default=True,
    help="The values that the depth network takes.",
)
@click.option("--far-is-bright", is_flag=True, help="The depth network draws far as bright.")
@click.option(
    "--strength",
    type=click.FloatRange(0, 1),
    default=1.0,
    show_default=True,
    help="1 draws what the network does, 0 the photo.",
)
@click.option("--network-resolution", is_flag=True, help="Write the network's own, small picture.")
@click.option("--compare", is_flag=True, help="Write RESULT.compare.jpg too: before and after.")
@click.option(
    "--quality",
    type=click.IntRange(1, 100),
    default=95,
    show_default=True,
    help="Of JPEG, WebP, AVIF and HEIC.",
)
@click.option("--overwrite", is_flag=True, help="In a folder, render again what is up to date.")
@click.option("--json", "as_json", is_flag=True, help="Print a report as JSON on stdout.")
@click.option("-v", "--verbose", is_flag=True, help="Show the libraries' own messages.")
@click.version_option(package_name="bokeh-tflite")
def main(
    photo: Path | None,
    output: Path | None,
    model: Path | None,
    delegate: str,
    delegate_library: Path | None,
    allow_partial: bool,
    list_delegates: bool,
    interpreter: str | None,
    threads: int | None,
    depth: Path | None,
    depth_model: Path | None,
    depth_input: str,
    far_is_bright: bool,
    strength: float,
    network_resolution: bool,
    compare: bool,
    quality: int,
    overwrite: bool,
    as_json: bool,
    verbose: bool,
) -> None:
    """Draw PHOTO, or each photo of a folder, with the shallow depth of field of a large lens.

    Exit codes: 0 done; 1 some photos of a folder failed; 2 wrong input; 3 the asked hardware is not
    here or cannot run the whole model.
    """
    fault, code, report = None, 0, {}
    with quiet(verbose) as stderr:
        console = Console(file=stderr, width=None if stderr.isatty() else WIDTH_IN_A_PIPE)
        try:
            with interruptible() as check:
                if list_delegates:
                    report = _list_delegates(console)
                elif photo is None:
                    raise InputError("no photo; give one, or a folder of them (--help tells more)")
                elif depth is not None and depth_model is not None:
                    raise InputError("--depth and --depth-model exclude each other; give one")
                else:
                    jobs, notes = _jobs(photo, output, depth)
                    report = _run(
                        console,
                        jobs,
                        Options(strength, network_resolution, compare, quality),
                        lambda: BokehModel.open(
                            model,
                            delegate,
                            threads=threads,
                            interpreter=interpreter,
                            delegate_library=delegate_library,
                            allow_partial=allow_partial,
                        ),
                        lambda: (
                            None
                            if depth_model is None
                            else DepthModel(
                                depth_model,
                                values=depth_input,
                                far_is_bright=far_is_bright,
                                threads=threads,
                                interpreter=interpreter,
                            )
                        ),
                        notes=notes,
                        record=RenderRecord(jobs[0].output.parent) if photo.is_dir() else None,
                        overwrite=overwrite,
                        check=check,
                    )
                    code = 1 if report["failures"] else 0
        except InputError as error:
            fault, code = str(error), 2
        except HardwareError as error:
            fault, code = str(error), 3
        except KeyboardInterrupt:
            fault, code = "interrupted; finished photos are whole", INTERRUPTED
        gc.collect()  # LiteRT tells of all that it takes down; not after `quiet` has ended.
    if fault is not None:
        click.echo(f"bokeh-render: {fault}", err=True)
    elif as_json:
        click.echo(json.dumps(report, indent=1))
    sys.exit(code)


def _run(
    console: Console,
    jobs: Sequence[Job],
    options: Options,
    open_model: Callable[[], BokehModel],
    open_depth_model: Callable[[], DepthModel | None],
    *,
    notes: Sequence[str],
    record: RenderRecord | None,
    overwrite: bool,
    check: Callable[[], None],
) -> dict[str, Any]:
    """Renders, tells what came out, and returns the report.

    Args:
        console: Where to tell.
        jobs: What to render.
        options: How.
        open_model: Opens the model.
        open_depth_model: Opens the depth network, if one is used.
        notes: What is to be told of the photos.
        record: Of the output folder; None for a single photo.
        overwrite: Render what is up to date too.
        check: Ends the work if a Ctrl-C was lost.
    """
    again = Counter[str]()
    done = 0
    with ExitStack() as opened:
        with _spinner(console, "opening the model"):
            model = opened.enter_context(open_model())
            depth_model = open_depth_model()
            if depth_model is not None:
                opened.callback(depth_model.close)
        check()
        if jobs:  # told before a folder is begun, not for each of its photos
            model.check_depth(given=depth_model is not None or jobs[0].depth is not None)
        notes = [*notes, *model.notes]
        for note in notes:
            click.echo(f"note: {note}", file=console.file)
        if record is None:
            with _spinner(console, f"rendering {jobs[0].photo.name}"):
                results = [render_file(model, jobs[0], options, depth_model)]
            failures: list[tuple[Job, str]] = []
            _tell(console, results[0])
        else:
            made_from = {job: sources(job, model, options, depth_model) for job in jobs}
            todo, again = (jobs, again) if overwrite else record.outstanding(jobs, made_from)
            done = len(jobs) - len(todo)
            for cause, count in again.items():
                click.echo(f"rendering {count} again: {cause}", file=console.file)
            outcomes = render_files(model, todo, options, depth_model)
            results, failures = _render_all(console, todo, outcomes, record, made_from, check)
            _sum_up(console, results, failures, done)
    return {
        "schema": SCHEMA,
        "model": str(model.path),
        "placement": asdict(model.placement),
        "notes": notes,
        "photos": [
            {
                "photo": str(rendered.photo),
                "output": str(rendered.output),
                "height": rendered.height,
                "width": rendered.width,
                "timings": dict(rendered.timings),
                "notes": list(rendered.notes),
            }
            for rendered in results
        ],
        "failures": [{"photo": str(job.photo), "cause": cause} for job, cause in failures],
        "done_already": done,
        "rendered_again": [{"cause": cause, "photos": count} for cause, count in again.items()],
    }


def _jobs(photo: Path, output: Path | None, depth: Path | None) -> tuple[list[Job], list[str]]:
    """Returns what is to be rendered, and notes."""
    if not photo.exists():
        raise InputError(f"{photo}: no such photo or folder; check the path")
    if not photo.is_dir():
        if output is not None and output.is_dir():
            output /= result_name(photo)
        job = Job(photo, output or photo.with_name(f"{photo.stem}.bokeh.jpg"), depth)
        check_job(job)
        return [job], []
    if output is None:
        raise InputError(f"{photo}: is a folder; give the folder for the results with --output")
    if depth is not None and not depth.is_dir():
        raise InputError(f"{depth}: not a folder; give one map for each photo of {photo}")
    if output.exists() and not output.is_dir():
        raise InputError(f"{output}: is no folder; choose another --output")
    if output.exists() and output.samefile(photo):
        raise InputError(f"{output}: is the photos' own folder; choose another --output")
    jobs, notes = jobs_for_folder(photo, output, depth)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{output}: cannot be made ({error.strerror}); choose another") from error
    check_case(jobs)
    return jobs, notes


def _render_all(
    console: Console,
    jobs: Sequence[Job],
    outcomes: Iterator[Rendered | InputError],
    record: RenderRecord,
    made_from: Mapping[Job, MadeFrom],
    check: Callable[[], None],
) -> tuple[list[Rendered], list[tuple[Job, str]]]:
    results: list[Rendered] = []
    failures: list[tuple[Job, str]] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task("rendering", total=len(jobs))
        try:
            for job, outcome in zip(jobs, outcomes, strict=True):
                if isinstance(outcome, InputError):
                    failures.append((job, str(outcome)))
                else:
                    results.append(outcome)
                    record.add(job, made_from[job])
                bar.update(task, advance=1, description=job.photo.name)
                check()
        finally:
            record.save()
    return results, failures


def _tell(console: Console, rendered: Rendered) -> None:
    stderr = console.file  # not through rich, which would break long paths
    stages = ", ".join(
        f"{name.removesuffix('_ms')} {value:.0f} ms" for name, value in rendered.timings.items()
    )
    size = f"{rendered.width} x {rendered.height}"
    click.echo(f"{rendered.output}: {size}; {stages}", file=stderr)
    _tell_notes(console, rendered)
    click.echo(f"ran on {rendered.placement}", file=stderr)
    if rendered.placement.unsupported:
        click.echo(f"left to the CPU: {rendered.placement.unsupported}", file=stderr)


def _sum_up(
    console: Console, results: Sequence[Rendered], failures: Sequence[tuple[Job, str]], done: int
) -> None:
    stderr = console.file
    skipped = f", {done} done already" if done else ""
    click.echo(f"{len(results)} rendered{skipped}, {len(failures)} failed", file=stderr)
    if results:
        click.echo(f"ran on {results[0].placement}", file=stderr)
    for rendered in results:
        _tell_notes(console, rendered)
    for _, message in failures:
        click.echo(f"failed: {message}", file=stderr)


def _tell_notes(console: Console, rendered: Rendered) -> None:
    for note in rendered.notes:
        click.echo(f"note: {rendered.photo}: {note}", file=console.file)


def _list_delegates(console: Console) -> dict[str, Any]:
    with _spinner(console, "probing"):
        probes = probe()
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("delegate", "here", "device, or why not"):
        table.add_column(heading, overflow="fold")
    for found in probes:
        table.add_row(found.delegate, "yes" if found.device else "no", found.device or found.reason)
    console.print(table)
    return {"schema": SCHEMA, "delegates": [asdict(found) for found in probes]}


@contextmanager
def _spinner(console: Console, what: str) -> Iterator[None]:
    if console.is_terminal:
        with console.status(what):
            yield
    else:
        yield
