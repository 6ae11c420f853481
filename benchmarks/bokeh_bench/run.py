"""Runs a benchmark from its options to the written report and the exit code."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from rich.console import Console

from bokeh_bench.command_line import Session
from bokeh_bench.devices import find_device
from bokeh_bench.machine import environment
from bokeh_bench.measure.references import FullModelReferences
from bokeh_bench.measure.rows import Report, Row
from bokeh_bench.options import Options
from bokeh_bench.report import regression
from bokeh_bench.report.console import markdown, print_report
from bokeh_bench.report.html import write_html
from bokeh_runtime.atomic_output import AtomicOutput
from bokeh_runtime.interrupt import INTERRUPTED

WIDTH_IN_A_PIPE = 200
"""Width of the table in characters where there is no terminal."""


def run(options: Options, session: Session) -> tuple[int, str]:
    """Runs the benchmark and writes the report after each row.

    Returns:
        The exit code, and what the command prints on stdout.

    Raises:
        InputError: If the options contradict each other, or an input cannot be read.
        HardwareError: If the requested hardware is not available.
    """
    width = None if session.stderr.isatty() else WIDTH_IN_A_PIPE
    console = Console(file=session.stderr, width=width)
    options.check()
    _limits(options)  # a limit that is not finite is reported before anything is measured
    older = None if options.compare is None else regression.read_report(options.compare)
    report = Report(datetime.now(timezone.utc).isoformat(timespec="seconds"), environment(), [])

    def write(report: Report) -> None:
        with AtomicOutput(options.output_dir) as output_folder:
            text = json.dumps(report.to_data(), indent=1, allow_nan=False)
            output_folder.path(options.report_path.name).write_text(text, encoding="utf-8")
            write_html(output_folder.path("report.html"), report)
            output_folder.commit()

    with AtomicOutput(options.output_dir):
        pass  # fails before the measurement if the folder is not writable
    with _Status(console) as progress:
        try:
            full_model = FullModelReferences(
                options.reference, options.source, options.photos, progress
            )
            device = find_device(options.device)
            for updated in device.measure(options, report, full_model, progress):
                report = updated
                write(report)
                session.check_interrupt()
        except KeyboardInterrupt:
            if not report.rows:  # keep an earlier report rather than write an empty one
                raise
            report = replace(report, interrupted=True)
            write(report)
    print_report(report, console)
    regressions = [] if older is None else _print_regressions(older, report, options, console)
    console.file.write(f"report: {options.output_dir / 'report.html'}\n")
    output = ""
    if options.as_json:
        output = json.dumps(report.to_data(), indent=1)
    elif options.as_markdown:
        output = markdown(report)
    if report.interrupted:
        console.file.write("bokeh-bench: interrupted; the report has the finished rows\n")
        return INTERRUPTED, output
    return _exit_code(report.rows, regressions), output


def _print_regressions(
    older: Mapping[str, Any], report: Report, options: Options, console: Console
) -> list[str]:
    """Prints and returns the regressions relative to the older report, one line each."""
    new = report.to_data()
    for warning in regression.warnings(older, new):
        console.file.write(f"note: {warning}\n")
    found = regression.failures(older, new, _limits(options))
    for line in found:
        console.file.write(f"regression: {line}\n")
    if not found:
        count = sum(not row["failure"] for row in older["rows"])
        console.file.write(f"no regression: compared {count} rows with {options.compare}\n")
    return found


def _limits(options: Options) -> regression.Limits:
    return regression.Limits(options.max_slowdown, options.max_psnr_drop, options.metric_limits)


def _exit_code(rows: Sequence[Row], regressions: Sequence[str]) -> int:
    failed = [row for row in rows if row.failure]
    if regressions:
        return 1
    if rows and len(failed) == len(rows):
        return 3 if all(row.failure_kind == "hardware" for row in rows) else 2
    return 1 if failed else 0


class _Status:
    """Shows the current step on a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = console.status("") if console.file.isatty() else None

    def __enter__(self) -> _Status:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._status is not None:
            self._status.stop()

    def __call__(self, step: str) -> None:
        """Shows the current step."""
        if self._status is not None:
            self._status.update(step)

    def announce(self, text: str) -> None:
        """Prints lines as they are, above the current step."""
        if self._status is not None:
            self._status.stop()
        self._console.file.write(f"{text}\n")
        self._console.file.flush()
        if self._status is not None:
            self._status.start()

    @property
    def is_terminal(self) -> bool:
        """Whether steps are shown."""
        return self._status is not None
