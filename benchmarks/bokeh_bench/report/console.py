"""The report as a table on a terminal and as a Markdown table."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bokeh_bench.measure.latency import Latency, min_runs_for
from bokeh_bench.measure.rows import PairedComparison, Report, Row
from bokeh_bench.report.tables import markdown_table
from bokeh_runtime.metrics.fidelity import Fidelity
from bokeh_runtime.metrics.psnr import psnr_text
from bokeh_runtime.metrics.registry import Metric, all_metrics

Column = tuple[str, Callable[[Row], str]]
TAILS = (90, 99)
"""Percentiles of the run times that the table shows."""


def print_report(report: Report, console: Console) -> None:
    """Prints the rows, their notes and the failures."""
    done = [row for row in report.rows if not row.failure]
    headings, lines = headings_and_cells(done)
    if done:
        table = Table(box=None, header_style="bold", pad_edge=False)
        for i, heading in enumerate(headings):
            table.add_column(heading, justify="left" if i == 0 else "right", overflow="fold")
        for line in lines:
            table.add_row(*map(escape, line))
        console.print(table)
    # Not through rich, which would wrap long lines.
    for footnote in footnotes(done):
        console.file.write(f"{footnote}\n")
    for row in done:
        for note in [*placement_lines(row), *row.notes]:
            console.file.write(f"{row.name}: {note}\n")
    for row in report.rows:
        if row.failure:
            console.file.write(f"failed: {row.name}: {row.failure}\n")
    if report.paired_comparison is not None:
        console.file.write(describe_comparison(report.paired_comparison) + "\n")


def markdown(report: Report) -> str:
    """Returns the table as Markdown."""
    done = [row for row in report.rows if not row.failure]
    headings, rows = headings_and_cells(done)
    lines = [markdown_table(headings, rows)]
    if footnotes(done):
        lines += ["", *footnotes(done)]
    if report.paired_comparison is not None:
        lines += ["", describe_comparison(report.paired_comparison)]
    return "\n".join(lines)


def headings_and_cells(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Returns the headings of the columns that have values, and the cells of each row."""
    columns = _columns(rows)
    return [heading for heading, _ in columns], [[of(row) for _, of in columns] for row in rows]


def footnotes(rows: Sequence[Row]) -> list[str]:
    """Returns why cells of the table are "-", and over which images, one line each."""
    shown = [metric for metric in all_metrics() if metric.in_tables]
    fidelity = [one for row in rows for one in row.fidelity if one.protocol == "full"]
    coverage = [note for one in fidelity for note in one.coverage_notes(shown)]
    percentiles = [
        f"p{percent} is - with fewer than {min_runs_for(percent)} runs "
        f"(--runs {min_runs_for(percent)}): it would only be the slowest run"
        for percent in TAILS
        if any(row.latency and row.latency.tail_percentile_ms(percent) is None for row in rows)
    ]
    return [*percentiles, *dict.fromkeys(coverage)]


def describe_comparison(comparison: PairedComparison) -> str:
    """Returns the latency ratio of two models in one line."""
    ratio = comparison.latency_ratio
    return (
        f"latency ratio of {comparison.first} to {comparison.second}: {ratio.estimate:.3f} "
        f"(95 % confidence interval {ratio.ci95_low:.3f} to {ratio.ci95_high:.3f}, "
        f"{comparison.runs_per_model} interleaved runs each in {comparison.rounds} rounds of fresh "
        "processes)"
    )


def _columns(rows: Sequence[Row]) -> list[Column]:
    timed = any(row.latency for row in rows)
    every: list[tuple[bool, Column]] = [
        (True, ("model", lambda row: row.model.name)),
        (any(row.device != "host" for row in rows), ("device", lambda row: row.device)),
        (True, ("delegate", _delegate)),
        (any(row.threads for row in rows), ("threads", lambda row: str(row.threads or "all"))),
        (any(row.placement for row in rows), ("delegated ops", _delegated_ops)),
        (timed, ("median latency", _ms(lambda latency: latency.median_ms))),
        *((timed, (f"p{percent}", _tail(percent))) for percent in TAILS),
        (timed, ("IQR / median", _relative_iqr)),
        (timed, ("load time", _ms(lambda latency: latency.load_ms))),
        (any(row.instructions for row in rows), ("instructions", _instructions)),
        (any(row.peak_rss_bytes for row in rows), ("peak RSS", _peak_rss)),
    ]
    for vs, name in (("full_model", "full model"), ("ground_truth", "ground truth")):
        measured = any(row.fidelity_to(vs) for row in rows)
        every += [
            (measured, (f"PSNR vs {name}", _psnr(vs, "psnr_db_mean"))),
            (measured, ("pooled", _psnr(vs, "psnr_db_pooled"))),
            (measured, ("worst", _psnr(vs, "psnr_db_worst"))),
        ]
        for metric in all_metrics():
            shown = measured and metric.in_tables
            every.append((shown, (metric.label, _mean(vs, metric))))
            every.append((shown and metric.has_worst, ("worst", _worst(vs, metric))))
    return [column for shown, column in every if shown]


def _delegate(row: Row) -> str:
    used = row.placement.delegate if row.placement else row.delegate
    return used if used == row.delegate else f"{row.delegate}: {used}"


def _delegated_ops(row: Row) -> str:
    return "" if row.placement is None else row.placement.share


def _ms(value_of: Callable[[Latency], float | None]) -> Callable[[Row], str]:
    def text(row: Row) -> str:
        if row.latency is None:
            return ""
        value = value_of(row.latency)
        return "-" if value is None else f"{value:.1f} ms"

    return text


def _tail(percent: int) -> Callable[[Row], str]:
    return _ms(lambda latency: latency.tail_percentile_ms(percent))


def _relative_iqr(row: Row) -> str:
    return "" if row.latency is None else f"{row.latency.relative_iqr:.1%}"


def _instructions(row: Row) -> str:
    return "" if row.instructions is None else f"{row.instructions / 1e6:.0f} million"


def _peak_rss(row: Row) -> str:
    return "" if row.peak_rss_bytes is None else f"{row.peak_rss_bytes / 1e6:.0f} MB"


def _fidelity(vs: str, to_text: Callable[[Fidelity], str]) -> Callable[[Row], str]:
    def text(row: Row) -> str:
        fidelity = row.fidelity_to(vs)
        return "" if fidelity is None else to_text(fidelity)

    return text


def _psnr(vs: str, statistic: str) -> Callable[[Row], str]:
    return _fidelity(vs, lambda fidelity: psnr_text(getattr(fidelity, statistic)))


def _mean(vs: str, metric: Metric) -> Callable[[Row], str]:
    return _fidelity(vs, lambda fidelity: metric.text(fidelity.mean(metric)))


def _worst(vs: str, metric: Metric) -> Callable[[Row], str]:
    return _fidelity(vs, lambda fidelity: metric.text(fidelity.worst(metric)))


def placement_lines(row: Row) -> list[str]:
    """Returns the device, and the operators that the delegate does not run, one line each."""
    placement = row.placement
    if placement is None:
        return []
    count = placement.partitions
    lines = [f"ran on {placement.device}" + ("" if count in (None, 1) else f", {count} partitions")]
    if placement.unsupported_text:
        lines.append(f"unsupported ops (run on the CPU): {placement.unsupported_text}")
    return lines
