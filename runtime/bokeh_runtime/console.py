"""The terminal output of `bokeh-render`: progress, results and delegates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from bokeh_runtime.backends.delegates import Probe
from bokeh_runtime.render import RenderedFile
from bokeh_runtime.render_jobs import Job

PIPE_WIDTH = 120


def make_console(stderr: TextIO) -> Console:
    """Returns a console on stderr that does not wrap lines at 80 columns in a pipe."""
    return Console(file=stderr, width=None if stderr.isatty() else PIPE_WIDTH)


@contextmanager
def spinner(console: Console, message: str) -> Iterator[None]:
    """Shows a message while the block runs, on a terminal only."""
    if console.file.isatty():
        with console.status(message):
            yield
    else:
        yield


@contextmanager
def progress_bar(console: Console, total: int) -> Iterator[Callable[[str], None]]:
    """Shows a progress bar on a terminal. Yields a function to call with each finished photo."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
        disable=not console.file.isatty(),
    ) as bar:
        task = bar.add_task("rendering", total=total)
        yield lambda name: bar.update(task, advance=1, description=name)


def show_result(console: Console, rendered: RenderedFile) -> None:
    """Prints the result of one photo: the file, the duration of each stage, and the placement."""
    stderr = console.file  # not through rich, which would wrap long paths
    stages = ", ".join(
        f"{name.removesuffix('_ms')} {value:.0f} ms" for name, value in rendered.timings.items()
    )
    size = f"{rendered.width} x {rendered.height}"
    click.echo(f"{rendered.output}: {size}; {stages}", file=stderr)
    _show_notes(console, rendered)
    click.echo(f"ran on {rendered.placement}", file=stderr)
    if rendered.placement.unsupported_text:
        click.echo(f"run on the CPU: {rendered.placement.unsupported_text}", file=stderr)


def show_summary(
    console: Console,
    results: Sequence[RenderedFile],
    failures: Sequence[tuple[Job, str]],
    up_to_date: int,
) -> None:
    """Prints the numbers of photos rendered, up to date and failed, the notes and the errors."""
    stderr = console.file
    skipped = f", {up_to_date} up to date" if up_to_date else ""
    click.echo(f"{len(results)} rendered{skipped}, {len(failures)} failed", file=stderr)
    if results:
        click.echo(f"ran on {results[0].placement}", file=stderr)
    for rendered in results:
        _show_notes(console, rendered)
    for _, error in failures:
        click.echo(f"failed: {error}", file=stderr)


def _show_notes(console: Console, rendered: RenderedFile) -> None:
    for note in rendered.notes:
        click.echo(f"note: {rendered.photo}: {note}", file=console.file)


def show_delegates(console: Console, probes: Sequence[Probe]) -> None:
    """Prints a table of the delegates and whether each is available."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("delegate", "available", "device or reason"):
        table.add_column(heading, overflow="fold")
    for row in probes:
        table.add_row(row.delegate, "yes" if row.device else "no", row.device or row.reason)
    console.print(table)
