"""The command `bokeh-bench`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from bokeh_bench.child_process import SECONDS
from bokeh_bench.parameters import Choices, Counts, Limit, Share
from bokeh_runtime.backends.delegates import DELEGATES
from bokeh_runtime.backends.interpreter import INTERPRETERS
from bokeh_runtime.backends.native_log import hide_native_log
from bokeh_runtime.errors import HardwareError, InputError, option_names
from bokeh_runtime.interrupt import INTERRUPTED, interruptible
from bokeh_runtime.model import SHIPPED_MODEL, shipped_model

SHIPPED = (SHIPPED_MODEL, "demo_pynet_int8.tflite")
WIDTH_IN_A_PIPE = 200


_PATH = click.Path(path_type=Path)


class _MeasureOrStudy(click.Command):
    """A command that measures its arguments, unless the first of them is the word `study`."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        if args[:1] != ["study"]:
            return super().make_context(info_name, args, parent, **extra)
        # Late, because a board that only measures need not load the converter's options.
        from bokeh_bench.studies.cli import study

        return study.make_context(f"{info_name} study", args[1:], parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        return super().invoke(ctx) if ctx.command is self else ctx.command.invoke(ctx)


@click.command(cls=_MeasureOrStudy, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("models", metavar="[MODEL]...", nargs=-1, type=_PATH)
@click.option(
    "-d",
    "--delegate",
    "delegates",
    type=Choices(DELEGATES),
    default="auto",
    show_default=True,
    help="One or several with commas, of " + ", ".join(DELEGATES) + ".",
)
@click.option("--threads", type=Counts(), help="Of the CPU, with commas; all cores unless given.")
@click.option("--runs", type=click.IntRange(min=5), default=20, show_default=True,
              help="At least so many timed runs.")  # fmt: skip
@click.option("--seconds", type=click.FloatRange(min=0), default=5.0, show_default=True,
              help="And for at least so long.")  # fmt: skip
@click.option(
    "--pair",
    is_flag=True,
    help="Two models take turns, A B B A, in rounds of fresh processes; their ratio.",
)
@click.option("--reference", metavar="NPZ", type=_PATH,
              help="The conversion's reference pack; without it, that beside each.")  # fmt: skip
@click.option("--source", metavar="FILE", type=_PATH,
              help="The trained model: run it now instead (extra `convert`).")  # fmt: skip
@click.option("--photos", metavar="DIR", type=_PATH, help="Photos for --source.")
@click.option("--dataset", metavar="DIR", type=_PATH,
              help="Ground truth: EBB!'s layout (test/), or photos with --targets.")  # fmt: skip
@click.option("--targets", metavar="DIR", type=_PATH, help="The targets, of the same names.")
@click.option("--device", default="host", show_default=True,
              help="arm64 (a phone's kernels under QEMU: fidelity and instructions, no time), or "
              "android[:SERIAL] (a phone with the sample app, over adb).")  # fmt: skip
@click.option("--delegate-library", metavar="FILE", type=_PATH, help="See bokeh-render.")
@click.option("--allow-partial", is_flag=True, help="See bokeh-render.")
@click.option("--interpreter", type=click.Choice(list(INTERPRETERS)), help="See bokeh-render.")
@click.option("--timeout", metavar="SECONDS", type=Limit(),
              default=SECONDS, show_default=True,
              help="Give a row up if its process, or adb, says nothing for so long: a driver that "
              "hangs. An inference must fit in.")  # fmt: skip
@click.option("--no-operators", is_flag=True, help="Do not time operators one by one.")
@click.option("--compare", metavar="JSON", type=_PATH, help="An older report.json to hold up to.")
@click.option("--max-slowdown", type=Share(), help="Such as 5%, with --compare.")
@click.option("--max-psnr-drop", metavar="DB", type=click.FloatRange(min=0),
              help="Such as 0.2, with --compare; for mean, pooled and worst each.")  # fmt: skip
@click.option("-o", "--output-dir", type=_PATH, default=Path("bench"), show_default=True,
              help="For report.json and report.html.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON on stdout.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print the table as Markdown.")
@click.option("-v", "--verbose", is_flag=True, help="Show the libraries' own messages.")
@click.version_option(package_name="bokeh-tflite")
def main(**given: Any) -> None:
    """Measure MODELs (the shipped ones unless given): how fast, how faithful, where they ran.

    `bokeh-bench study` lists the comparisons behind the documentation's other tables. A model file
    that is called "study" is given as ./study.

    Exit codes: 0 done; 1 a row failed, or --compare found a change over its limit; 2 wrong input;
    3 the asked hardware is not here.
    """
    asked = _Asked(**given)
    fault, code, output = "", 0, ""
    with hide_native_log(asked.verbose) as stderr:
        console = Console(file=stderr, width=None if stderr.isatty() else WIDTH_IN_A_PIPE)
        try:
            with interruptible() as check:
                code, output = _run(asked, console, check)
        except InputError as error:
            fault, code = error.in_options(option_names(main)), 2
        except HardwareError as error:
            fault, code = error.in_options(option_names(main)), 3
        except ImportError as error:
            if error.name is None or error.name.startswith("bokeh"):
                raise
            fault, code = f"{error.name} is not installed; pip install 'bokeh-tflite[bench]'", 2
        except KeyboardInterrupt:
            fault, code = "interrupted before a row was done", INTERRUPTED
    if fault:
        click.echo(f"bokeh-bench: {fault}", err=True)
    if output:
        click.echo(output)
    sys.exit(code)


@dataclass(frozen=True)
class _Asked:
    models: Sequence[Path]
    delegates: Sequence[str]
    threads: Sequence[int] | None
    runs: int
    seconds: float
    pair: bool
    reference: Path | None
    source: Path | None
    photos: Path | None
    dataset: Path | None
    targets: Path | None
    device: str
    delegate_library: Path | None
    allow_partial: bool
    interpreter: str | None
    timeout: float
    no_operators: bool
    compare: Path | None
    max_slowdown: float | None
    max_psnr_drop: float | None
    output_dir: Path
    as_json: bool
    as_markdown: bool
    verbose: bool

    @property
    def paths(self) -> Sequence[Path]:
        """The models, the shipped ones unless given."""
        return self.models or [shipped_model(name) for name in SHIPPED]

    @property
    def report_path(self) -> Path:
        return self.output_dir / "report.json"

    def check(self) -> None:
        """Raises InputError for what contradicts itself, before anything is measured."""
        for given, needed, message in (
            (self.targets, self.dataset, "--targets needs --dataset with the sharp photos"),
            (self.photos, self.source, "--photos needs --source, the model that draws them"),
            (self.max_slowdown, self.compare, "--max-slowdown needs --compare, an older report"),
            (self.max_psnr_drop, self.compare, "--max-psnr-drop needs --compare, an older report"),
        ):
            if given is not None and needed is None:
                raise InputError(message)
        if self.compare is not None and self.max_slowdown is None and self.max_psnr_drop is None:
            raise InputError("--compare needs a limit: --max-slowdown 5% or --max-psnr-drop 0.2")
        if self.compare is not None and self.compare.resolve() == self.report_path.resolve():
            raise InputError(
                f"{self.compare}: is the report that this run writes; choose another --output-dir"
            )
        if self.source is not None and self.reference is not None:
            raise InputError("--source and --reference exclude each other; give one")
        if self.device not in ("host", "arm64") and self.device.partition(":")[0] != "android":
            raise InputError(f"--device {self.device}: use host, arm64 or android[:SERIAL]")
        if self.pair:
            if len(self.paths) != 2 or len(self.delegates) != 1 or len(self.threads or [0]) != 1:
                raise InputError("--pair takes two models, one delegate and one thread count")
            if self.device != "host":
                raise InputError("--pair measures this machine; leave --device away")
        if self.device != "host" and self.dataset is not None:
            raise InputError(
                f"--device {self.device} draws the reference alone; no --dataset there"
            )
        names = [path.name for path in self.paths]
        if not self.pair and len(set(names)) < len(names):
            raise InputError("two models have the same file name; rename one, rows are told by it")


def _run(asked: _Asked, console: Console, check: Callable[[], None]) -> tuple[int, str]:
    """Measures, writes the report after each row, and returns exit code and output.

    `check` ends the work if a Ctrl-C was lost.
    """
    from bokeh_bench.machine import environment
    from bokeh_bench.measure.rows import Report
    from bokeh_bench.report import regression
    from bokeh_bench.report.console import markdown, print_report
    from bokeh_bench.report.html import write_html
    from bokeh_runtime.atomic_output import AtomicOutput

    asked.check()
    old = None if asked.compare is None else regression.read_report(asked.compare)
    report = Report(datetime.now(timezone.utc).isoformat(timespec="seconds"), environment(), [])

    def keep(report: Report) -> None:
        with AtomicOutput(asked.output_dir) as staging:
            text = json.dumps(report.to_data(), indent=1, allow_nan=False)
            staging.path(asked.report_path.name).write_text(text, encoding="utf-8")
            write_html(staging.path("report.html"), report)
            staging.commit()

    with AtomicOutput(asked.output_dir):
        pass  # a folder that cannot be written to is told before the work
    with _Status(console) as say:
        try:
            for grown in _measured(asked, report, say):
                report = grown
                keep(report)
                check()
        except KeyboardInterrupt:
            if not report.rows:  # an earlier report is better than an empty one
                raise
            report = replace(report, interrupted=True)
            keep(report)
    print_report(report, console)
    failed = [] if old is None else _judged(old, report, asked, console)
    console.file.write(f"report: {asked.output_dir / 'report.html'}\n")
    output = ""
    if asked.as_json:
        output = json.dumps(report.to_data(), indent=1)
    elif asked.as_markdown:
        output = markdown(report)
    if report.interrupted:
        console.file.write("bokeh-bench: interrupted; the rows that were done are in the report\n")
        return INTERRUPTED, output
    return _exit_code(report.rows, failed), output


def _measured(asked: _Asked, report: Any, say: Callable[[str], None]) -> Any:
    """Yields the report with one row more each time."""
    from bokeh_bench.measure.matrix import Settings, cells, measure, take_turns
    from bokeh_bench.measure.references import FullModel, GroundTruth

    full_model = FullModel(asked.reference, asked.source, asked.photos, say)
    if asked.device == "arm64":
        from bokeh_bench.devices.arm64.rows import measure_arm64

        for row in measure_arm64(asked.paths, full_model, say, seconds=asked.timeout):
            report = replace(report, rows=[*report.rows, row])
            yield report
        return
    threads: Sequence[int | None] = asked.threads or [None]
    matrix = cells(asked.paths, asked.delegates, threads)
    if asked.device != "host":
        from bokeh_bench.devices.android import measure_android

        serial = asked.device.partition(":")[2] or None
        yield from measure_android(
            report, matrix, asked.runs, asked.seconds, full_model, serial, say, asked.timeout
        )
        return
    settings = Settings(
        runs=asked.runs,
        seconds=asked.seconds,
        full_model=full_model,
        ground_truth=None if asked.dataset is None else GroundTruth(asked.dataset, asked.targets),
        operators=not asked.no_operators,
        interpreter=asked.interpreter,
        delegate_library=asked.delegate_library,
        allow_partial=asked.allow_partial,
        timeout_seconds=asked.timeout,
    )
    if asked.pair:
        rows, pair = take_turns(matrix[0], matrix[-1], settings, say)
        yield replace(report, rows=rows, pair=pair)
        return
    for row in measure(matrix, settings, say):
        report = replace(report, rows=[*report.rows, row])
        yield report


def _judged(old: Any, report: Any, asked: _Asked, console: Console) -> list[str]:
    from bokeh_bench.report import regression

    new = report.to_data()
    for warning in regression.warnings(old, new):
        console.file.write(f"note: {warning}\n")
    failed = regression.failures(
        old, new, regression.Limits(asked.max_slowdown, asked.max_psnr_drop)
    )
    for line in failed:
        console.file.write(f"gate: {line}\n")
    if not failed:
        console.file.write(f"gate: passed, {len(old['rows'])} rows held against {asked.compare}\n")
    return failed


def _exit_code(rows: Sequence[Any], failed: Sequence[str]) -> int:
    broken = [row for row in rows if row.failure]
    if rows and len(broken) == len(rows):
        return 3 if all(row.failure_kind == "hardware" for row in rows) else 2
    return 1 if broken or failed else 0


class _Status:
    """Says on a terminal what is being done."""

    def __init__(self, console: Console) -> None:
        self._status = console.status("") if console.is_terminal else None

    def __enter__(self) -> Callable[[str], None]:
        if self._status is not None:
            self._status.start()
        return self._say

    def __exit__(self, *error: object) -> None:
        if self._status is not None:
            self._status.stop()

    def _say(self, what: str) -> None:
        if self._status is not None:
            self._status.update(what)
