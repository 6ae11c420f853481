"""What `bokeh-render` shows on a terminal: its progress, and what came out."""

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
    """Returns a console that does not break lines at 80 columns in a pipe."""
    return Console(file=stderr, width=None if stderr.isatty() else PIPE_WIDTH)


@contextmanager
def spinner(console: Console, what: str) -> Iterator[None]:
    """Shows on a terminal what is done while the block lasts."""
    if console.is_terminal:
        with console.status(what):
            yield
    else:
        yield


@contextmanager
def progress_bar(console: Console, total: int) -> Iterator[Callable[[str], None]]:
    """Yields what is called with the name of each finished photo; drawn on a terminal alone."""
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
        task = bar.add_task("rendering", total=total)
        yield lambda name: bar.update(task, advance=1, description=name)


def show_result(console: Console, rendered: RenderedFile) -> None:
    """Shows what came of one photo: the file, the time of each stage, and where it ran."""
    stderr = console.file  # not through rich, which would break long paths
    stages = ", ".join(
        f"{name.removesuffix('_ms')} {value:.0f} ms" for name, value in rendered.timings.items()
    )
    size = f"{rendered.width} x {rendered.height}"
    click.echo(f"{rendered.output}: {size}; {stages}", file=stderr)
    _show_notes(console, rendered)
    click.echo(f"ran on {rendered.placement}", file=stderr)
    if rendered.placement.unsupported_text:
        click.echo(f"left to the CPU: {rendered.placement.unsupported_text}", file=stderr)


def show_summary(
    console: Console,
    results: Sequence[RenderedFile],
    failures: Sequence[tuple[Job, str]],
    done: int,
) -> None:
    """Shows how many photos of a folder were rendered, what failed, and the notes."""
    stderr = console.file
    skipped = f", {done} done already" if done else ""
    click.echo(f"{len(results)} rendered{skipped}, {len(failures)} failed", file=stderr)
    if results:
        click.echo(f"ran on {results[0].placement}", file=stderr)
    for rendered in results:
        _show_notes(console, rendered)
    for _, message in failures:
        click.echo(f"failed: {message}", file=stderr)


def _show_notes(console: Console, rendered: RenderedFile) -> None:
    for note in rendered.notes:
        click.echo(f"note: {rendered.photo}: {note}", file=console.file)


def show_delegates(console: Console, probes: Sequence[Probe]) -> None:
    """Shows which delegates are here."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("delegate", "here", "device, or why not"):
        table.add_column(heading, overflow="fold")
    for found in probes:
        table.add_row(found.delegate, "yes" if found.device else "no", found.device or found.reason)
    console.print(table)
