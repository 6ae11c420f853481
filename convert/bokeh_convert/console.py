"""Terminal output of `bokeh-convert`: progress, and a summary of the conversion."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

import click
from rich import progress
from rich.console import Console
from rich.table import Table

from bokeh_convert.npu_command import npu_remarks, npu_table
from bokeh_convert.progress import Progress
from bokeh_convert.result import Conversion
from bokeh_runtime.metrics.psnr import psnr_text
from bokeh_runtime.metrics.registry import Metric, conversion_metrics

if TYPE_CHECKING:
    from bokeh_convert.report import ConversionReport

PIPE_WIDTH = 120
_MEAN_WORST = ("mean", "worst")


def console_on(stderr: TextIO) -> Console:
    """Returns a console on stderr, 120 columns wide in a pipe instead of rich's 80."""
    return Console(file=stderr, width=None if stderr.isatty() else PIPE_WIDTH)


@contextlib.contextmanager
def progress_bar(
    console: Console, check: Callable[[], None], *numbers: progress.ProgressColumn
) -> Iterator[Progress]:
    """Yields a progress callback that shows a bar on a terminal, nothing in a pipe.

    Args:
        console: Where the bar is shown.
        check: Called at each step; raises KeyboardInterrupt if a library swallowed a Ctrl-C.
        numbers: Columns behind the bar; by default the time since the start.
    """
    columns = (
        progress.SpinnerColumn(),
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        *(numbers or (progress.TimeElapsedColumn(),)),
    )
    # No redirection: output of libraries is handled by `hide_native_log`.
    with progress.Progress(
        *columns,
        console=console,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
        disable=not console.file.isatty(),
    ) as bar:
        task = bar.add_task("starting", total=None)

        def on_progress(description: str, done: int, total: int) -> None:
            check()
            if description:
                bar.update(task, description=description)
            bar.update(task, completed=done, total=total)

        yield on_progress


def show_conversions(
    console: Console, conversions: Sequence[Conversion], *, target_reasons: bool = False
) -> None:
    """Shows the files of a run as a table, then failures, remarks and the paths written.

    Args:
        console: Where they are shown.
        conversions: The files.
        target_reasons: Whether it is also said why a target does not run a file whole.
    """
    console.print(_table(conversions))
    first = conversions[0]
    photos = len(first.report.fidelity["images"]) if first.report.fidelity else 0
    compared = ["PSNR", *(metric.label for metric in _shown_metrics())]
    teacher = first.report.teacher
    full_model = "the full model" if teacher is None else f"the teacher {teacher['file']}"
    console.print(
        f"{', '.join(compared[:-1])} and {compared[-1]} against {full_model}, "
        f"on {photos} verification photos."
    )
    for conversion in conversions:
        if conversion.report.failure:
            console.print(f"FAILED {conversion.report.file}: {conversion.report.failure}")
        for unsupported in conversion.report.gpu_unsupported_ops:
            console.print(f"{conversion.report.file}, GPU: {unsupported}")
    console.print(_targets_table(conversions))
    npus = npu_table([conversion.report for conversion in conversions])
    if npus is not None:
        console.print(npus)
    for conversion in conversions:
        reasons = _target_reasons(conversion.report) if target_reasons else ()
        for remark in (
            *_remarks(conversion.report),
            *reasons,
            *npu_remarks(conversion.report),
        ):
            console.print(f"{conversion.report.file}: {remark}", soft_wrap=True)
    # Not through rich, which would break long paths.
    skipped = first.report.skipped_photos
    if skipped:
        click.echo(f"skipped photos: {len(skipped)}", file=console.file)
    for photo in skipped:
        click.echo(f"skipped: {photo['cause']}", file=console.file)
    for note in [*first.report.notes, *_coverage_notes(conversions)]:
        click.echo(f"note: {note}", file=console.file)
    for conversion in conversions:
        click.echo(f"report: {conversion.report_path}", file=console.file)
    click.echo(f"side by side: {first.comparison_path}", file=console.file)


def _table(conversions: Sequence[Conversion]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("file", overflow="fold")
    shown = _shown_metrics()
    quality = ["PSNR mean", "pooled", "worst"]
    for metric in shown:
        quality += [metric.label, *(["worst"] if metric.has_worst else [])]
    for heading in ("size", *quality, "operators", "not on GPU"):
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
            *(text for metric in shown for text in _metric_texts(metric, fidelity)),
            str(sum(report.operators.values())),
            str(len(report.gpu_unsupported_ops)) if report.gpu_unsupported_ops else "none",
        )
    return table


def _targets_table(conversions: Sequence[Conversion]) -> Table:
    """Returns which targets run each file; the reasons are in the reports."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("runs on", overflow="fold")
    for conversion in conversions:
        table.add_column(conversion.report.scheme, justify="right")
    for rows in zip(*(conversion.report.targets for conversion in conversions), strict=True):
        table.add_row(rows[0]["target"], *(_support_text(row) for row in rows))
    return table


def _support_text(support: dict[str, Any]) -> str:
    if support["runs"] == "part":
        taken, parts = f"{support['taken']}/{support['operators']}", support["parts"]
        return f"{taken} in {parts} part{'' if parts == 1 else 's'}"
    text = {"whole": "whole", "none": "no", "unknown": "unknown"}[support["runs"]]
    return f"{text}, slow" if support["slow"] and support["runs"] == "whole" else text


def _target_reasons(report: ConversionReport) -> Iterator[str]:
    """Yields a line for each target that does not run the file whole, or slowly."""
    for support in report.targets:
        if support["why"] is not None:
            yield f"{support['target']}: {_support_text(support)} ({support['why']})"


def _remarks(report: ConversionReport) -> Iterator[str]:
    """Yields the distance from the source if it has a teacher, and how a CPU computes the file."""
    if report.own_fidelity is not None:
        mean, worst = (_decibels(report.own_fidelity, f"psnr_db_{which}") for which in _MEAN_WORST)
        yield f"{mean} on average, {worst} for the worst photo against {report.source['file']}"
    search = report.mixed_precision
    if search is not None:
        in_float = len(search["float_convolutions"])
        yield (
            f"{search['convolutions'] - in_float} convolutions in int8, {in_float} in float; "
            f"about {search['cost_ratio']:.2f} of float32's instructions on a phone's CPU"
        )
        if not search["constraints_met"]:
            ended = "ended early, as the network is large, and " if search["ended_early"] else ""
            yield f"the search {ended}found nothing that meets {_constraints(search)}"
    decision = report.fp16_arithmetic
    if decision is not None:
        if decision["failure"] is None:
            emulation = f"{psnr_text(decision['psnr_db_worst'])} for the worst photo"
        else:
            emulation = decision["failure"]
        emulation = decision["shortfall"] or emulation
        allowed = "allowed" if decision["allowed"] else "not allowed"
        yield f"float16 arithmetic on ARM CPUs {allowed} (emulation: {emulation})"


def _constraints(search: Mapping[str, Any]) -> str:
    """Returns what a mixed-precision search aimed at."""
    asked = search["constraints"]
    parts = [f"{asked['min_psnr_db']:g} dB"]
    if asked["max_grain"] is not None:
        parts.append(f"grain {asked['max_grain']:g}")
    if asked["max_cost_ratio"] is not None:
        parts.append(f"{asked['max_cost_ratio']:g} of float32's instructions")
    return f"{', '.join(parts)} on the calibration photos, with a margin"


def _shown_metrics() -> list[Metric]:
    return [metric for metric in conversion_metrics() if metric.in_tables]


def _coverage_notes(conversions: Sequence[Conversion]) -> list[str]:
    """Returns which of the metrics in the table are not defined for some photos."""
    # The photos are the same for all files of a run, and so is what is defined for them.
    fidelity = next((c.report.fidelity for c in conversions if c.report.fidelity), None)
    if fidelity is None:
        return []
    notes = (
        metric.coverage_note([image[metric.key] for image in fidelity["images"]])
        for metric in _shown_metrics()
    )
    return [note for note in notes if note is not None]


def _metric_texts(metric: Metric, fidelity: dict[str, Any]) -> Iterator[str]:
    for statistic in ("mean", "worst") if metric.has_worst else ("mean",):
        yield metric.text(fidelity[f"{metric.key}_{statistic}"]) if fidelity else "invalid"


def _decibels(fidelity: dict[str, Any], key: str) -> str:
    return psnr_text(fidelity[key]) if fidelity else "invalid"
