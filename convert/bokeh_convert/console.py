"""What `bokeh-convert` shows on a terminal: its progress, and what came out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO

import click
from rich import progress
from rich.console import Console
from rich.table import Table

from bokeh_convert.progress import Progress
from bokeh_convert.result import Conversion
from bokeh_runtime.metrics.psnr import psnr_text

if TYPE_CHECKING:
    from bokeh_convert.report import ConversionReport

WIDTH_IN_A_PIPE = 120


def console_on(stderr: TextIO) -> Console:
    """Returns a console that does not break lines at 80 columns in a pipe."""
    return Console(file=stderr, width=None if stderr.isatty() else WIDTH_IN_A_PIPE)


@contextlib.contextmanager
def progress_bar(console: Console, check: Callable[[], None]) -> Iterator[Progress]:
    """Yields what `convert` calls; draws on a terminal, stays quiet in a pipe.

    `check` ends the work at its next step if a Ctrl-C was lost.
    """
    columns = (
        progress.SpinnerColumn(),
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.TimeElapsedColumn(),
    )
    # What libraries write to Python's standard error is not shown: see `hide_native_log`.
    with progress.Progress(
        *columns,
        console=console,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task("starting", total=None)

        def on_progress(what: str, done: int, total: int) -> None:
            check()
            if what:
                bar.update(task, description=what)
            bar.update(task, completed=done, total=total)

        yield on_progress


def show_conversions(console: Console, conversions: Sequence[Conversion]) -> None:
    """Shows the files of a run as a table, then what the user should know of each."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("file", overflow="fold")
    for heading in ("size", "PSNR mean", "pooled", "worst", "SSIM", "operators", "not GPU-ready"):
        table.add_column(heading, justify="right")
    for conversion in conversions:
        report = conversion.report
        fidelity = report.fidelity or {}
        table.add_row(
            report.file,
            f"{report.size_bytes / 1e6:.2f} MB",
            _decibels(fidelity, "psnr_db_mean"),
            _decibels(fidelity, "psnr_db_pooled"),
            _decibels(fidelity, "psnr_db_worst"),
            f"{fidelity['ssim_mean']:.4f}" if fidelity else "broken",
            str(sum(report.operators.values())),
            str(len(report.gpu_objections)) if report.gpu_objections else "none",
        )
    console.print(table)
    first = conversions[0]
    photos = len(first.report.fidelity["images"]) if first.report.fidelity else 0
    console.print(f"PSNR and SSIM against the full model, {photos} photos that did not calibrate.")
    for conversion in conversions:
        if conversion.report.failure:
            console.print(f"FAILED {conversion.report.file}: {conversion.report.failure}")
        for objection in conversion.report.gpu_objections:
            console.print(f"{conversion.report.file}, GPU: {objection}")
    for conversion in conversions:
        for remark in _remarks(conversion.report):
            console.print(f"{conversion.report.file}: {remark}", soft_wrap=True)
    # Not through rich, which would break long paths.
    passed_over = first.report.photos_passed_over
    if passed_over:
        click.echo(f"photos passed over: {len(passed_over)}", file=console.file)
    for photo in passed_over:
        click.echo(f"passed over: {photo['cause']}", file=console.file)
    for note in first.report.notes:
        click.echo(f"note: {note}", file=console.file)
    for conversion in conversions:
        click.echo(f"report: {conversion.report_path}", file=console.file)
    click.echo(f"side by side: {first.comparison_path}", file=console.file)


def _remarks(report: ConversionReport) -> Iterator[str]:
    """Yields what the file will do on a phone's CPU."""
    if report.plan is not None:
        kept = len(report.plan["in_float"])
        yield (
            f"{report.plan['convolutions'] - kept} convolutions in int8, {kept} in float; "
            f"about {report.plan['cost_ratio']:.2f} of float32's instructions on a phone's CPU"
        )
    if report.half_precision is not None:
        worst = psnr_text(report.half_precision["psnr_db_worst"])
        broken = report.half_precision["failure"] is not None
        rehearsed = "a broken picture" if broken else f"{worst} for the worst photo"
        marked = "marked" if report.half_precision["marked"] else "not marked"
        yield f"{marked} for native half precision on ARM CPUs (rehearsed: {rehearsed})"


def _decibels(fidelity: dict[str, Any], key: str) -> str:
    return psnr_text(fidelity[key]) if fidelity else "broken"
