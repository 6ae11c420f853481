"""The report on a terminal, and as Markdown for a README."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bokeh_bench.measure.latency import Latency, fewest_runs
from bokeh_bench.measure.rows import Pair, Report, Row
from bokeh_bench.report.tables import markdown_table
from bokeh_runtime.metrics.psnr import psnr_text

Column = tuple[str, Callable[[Row], str]]
TAILS = (90, 99)
"""Percentiles of the run times that are shown."""


def print_report(report: Report, console: Console) -> None:
    """Prints the rows, their notes and what failed."""
    done = [row for row in report.rows if not row.failure]
    headings, lines = table_of(done)
    if done:
        table = Table(box=None, header_style="bold", pad_edge=False)
        for i, heading in enumerate(headings):
            table.add_column(heading, justify="left" if i == 0 else "right", overflow="fold")
        for line in lines:
            table.add_row(*map(escape, line))
        console.print(table)
    # Not through rich, which would break long lines.
    for why in footnotes(done):
        console.file.write(f"{why}\n")
    for row in done:
        for note in [*where(row), *row.notes]:
            console.file.write(f"{row.name}: {note}\n")
    for row in report.rows:
        if row.failure:
            console.file.write(f"failed: {row.name}: {row.failure}\n")
    if report.pair is not None:
        console.file.write(describe_pair(report.pair) + "\n")


def markdown(report: Report) -> str:
    """Returns the table as Markdown."""
    done = [row for row in report.rows if not row.failure]
    headings, rows = table_of(done)
    lines = [markdown_table(headings, rows)]
    if footnotes(done):
        lines += ["", *footnotes(done)]
    if report.pair is not None:
        lines += ["", describe_pair(report.pair)]
    return "\n".join(lines)


def table_of(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Returns the headings of what was measured, and the cells of each row."""
    columns = _columns(rows)
    return [heading for heading, _ in columns], [[of(row) for _, of in columns] for row in rows]


def footnotes(rows: Sequence[Row]) -> list[str]:
    """Returns why a cell of the table is "-", in a line each."""
    return [
        f"p{percent} is -: told from {fewest_runs(percent)} runs on (--runs "
        f"{fewest_runs(percent)}); of fewer it is the slowest run"
        for percent in TAILS
        if any(row.latency and row.latency.tail_ms(percent) is None for row in rows)
    ]


def describe_pair(pair: Pair) -> str:
    """Returns the comparison in a line."""
    found = pair.latency_ratio
    return (
        f"{pair.first} takes {found.estimate:.3f} of the time of {pair.second} "
        f"(95 % interval {found.low:.3f} to {found.high:.3f}, {pair.turns} turns in {pair.rounds} "
        "rounds of fresh processes)"
    )


def _columns(rows: Sequence[Row]) -> list[Column]:
    every: list[tuple[bool, Column]] = [
        (True, ("model", lambda row: row.model.name)),
        (any(row.device != "host" for row in rows), ("device", lambda row: row.device)),
        (True, ("delegate", _delegate)),
        (any(row.threads for row in rows), ("threads", lambda row: str(row.threads or "all"))),
        (any(row.placement for row in rows), ("operators there", _placed)),
        (any(row.latency for row in rows), ("latency", _ms(lambda latency: latency.median_ms))),
        *((any(row.latency for row in rows), (f"p{percent}", _tail(percent))) for percent in TAILS),
        (any(row.latency for row in rows), ("spread", _spread)),
        (any(row.latency for row in rows), ("load", _ms(lambda latency: latency.load_ms))),
        (any(row.instructions for row in rows), ("instructions", _instructions)),
        (any(row.peak_rss_bytes for row in rows), ("peak", _peak)),
    ]
    for vs, name in (("full_model", "full model"), ("ground_truth", "ground truth")):
        there = any(row.fidelity_to(vs) for row in rows)
        every += [
            (there, (f"PSNR to {name}", _fidelity(vs, "psnr_db_mean", psnr_text))),
            (there, ("pooled", _fidelity(vs, "psnr_db_pooled", psnr_text))),
            (there, ("worst", _fidelity(vs, "psnr_db_worst", psnr_text))),
            (there, ("SSIM", _fidelity(vs, "ssim_mean", "{:.4f}".format))),
            (there, ("FLIP", _fidelity(vs, "flip_mean", "{:.4f}".format))),
        ]
    return [column for wanted, column in every if wanted]


def _delegate(row: Row) -> str:
    ran = row.placement.delegate if row.placement else row.delegate
    return ran if ran == row.delegate else f"{row.delegate}: {ran}"


def _placed(row: Row) -> str:
    return "" if row.placement is None else row.placement.share


def _ms(of: Callable[[Latency], float | None]) -> Callable[[Row], str]:
    def text(row: Row) -> str:
        if row.latency is None:
            return ""
        value = of(row.latency)
        return "-" if value is None else f"{value:.1f} ms"

    return text


def _tail(percent: int) -> Callable[[Row], str]:
    return _ms(lambda latency: latency.tail_ms(percent))


def _spread(row: Row) -> str:
    return "" if row.latency is None else f"{row.latency.spread:.1%}"


def _instructions(row: Row) -> str:
    return "" if row.instructions is None else f"{row.instructions / 1e6:.0f} million"


def _peak(row: Row) -> str:
    return "" if row.peak_rss_bytes is None else f"{row.peak_rss_bytes / 1e6:.0f} MB"


def _fidelity(vs: str, what: str, form: Callable[[float], str]) -> Callable[[Row], str]:
    def text(row: Row) -> str:
        found = row.fidelity_to(vs)
        return "" if found is None else form(getattr(found, what))

    return text


def where(row: Row) -> list[str]:
    """Returns where a row ran, and what was left to the CPU and why, in a line each."""
    place = row.placement
    if place is None:
        return []
    parts = "" if place.partitions in (None, 1) else f" in {place.partitions} parts"
    lines = [f"ran on {place.device}{parts}"]
    if place.unsupported_text:
        lines.append(f"left to the CPU: {place.unsupported_text}")
    return lines
