"""The command `bokeh-bench`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from bokeh_bench.child_process import TIMEOUT_SECONDS
from bokeh_bench.command_line import (
    HELP_OPTIONS,
    PATH,
    exit_on_errors,
    given_options,
    verbose_option,
)
from bokeh_bench.devices import DEFAULT_DEVICE, devices
from bokeh_bench.metric_options import (
    metric_limit_options,
    metric_limits,
    without_metric_limits,
)
from bokeh_bench.options import Options
from bokeh_bench.parameters import CommaSeparatedChoices, Percentage, PositiveIntegers, TimeLimit
from bokeh_runtime.backends.delegates import DELEGATES
from bokeh_runtime.backends.interpreter import INTERPRETERS
from bokeh_runtime.finite_range import FiniteRange
from bokeh_runtime.stdout import print_on_stdout


class _BenchOrStudy(click.Command):
    """A command that benchmarks its arguments, unless the first of them is the word `study`."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        if args[:1] != ["study"]:
            return super().make_context(info_name, args, parent, **extra)
        # Imported here, because a plain benchmark does not need the converter's options.
        from bokeh_bench.studies.cli import study

        return study.make_context(f"{info_name} study", args[1:], parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        return super().invoke(ctx) if ctx.command is self else ctx.command.invoke(ctx)


@click.command(cls=_BenchOrStudy, context_settings=HELP_OPTIONS)
@click.argument("models", metavar="[MODEL]...", nargs=-1, type=PATH)
@click.option(
    "-d",
    "--delegate",
    "delegates",
    type=CommaSeparatedChoices(DELEGATES),
    default="auto",
    show_default=True,
    help=f"Delegates to run each model on, separated by commas: {', '.join(DELEGATES)}.",
)
@click.option(
    "--threads",
    type=PositiveIntegers(),
    help="Numbers of CPU threads, separated by commas. Default: all cores.",
)
@click.option(
    "--runs",
    type=click.IntRange(min=5),
    default=20,
    show_default=True,
    help="Minimum number of timed runs.",
)
@click.option(
    "--seconds",
    type=FiniteRange(min=0),
    default=5.0,
    show_default=True,
    help="Minimum total time of the timed runs.",
)
@click.option(
    "--pair",
    is_flag=True,
    help="Compare the latency of two models in interleaved runs (A B B A), in several rounds of "
    "fresh processes.",
)
@click.option(
    "--reference",
    metavar="NPZ",
    type=PATH,
    help="Reference pack of the conversion. Default: the pack next to each model.",
)
@click.option(
    "--source",
    metavar="FILE",
    type=PATH,
    help="Trained model to run for the reference outputs, instead of a reference pack. Needs the "
    "extra `convert`.",
)
@click.option(
    "--photos",
    metavar="DIR",
    type=PATH,
    help="Folder of photos to run --source on; subfolders are read too.",
)
@click.option(
    "--dataset",
    metavar="DIR",
    type=PATH,
    help="Ground truth to compare with as well: a folder in EBB!'s layout (test/, or the folders "
    "original/ and bokeh/ directly), or of sharp photos with --targets.",
)
@click.option(
    "--targets",
    metavar="DIR",
    type=PATH,
    help="Folder of the target photos, with the same file names as in --dataset.",
)
@click.option(
    "--device",
    default=DEFAULT_DEVICE,
    show_default=True,
    help="Where to run: "
    + ", ".join(f"{device.usage} ({device.summary})" for device in devices().values())
    + ".",
)
@click.option(
    "--serve-on",
    metavar="ADDRESS",
    help="With --device web: this machine's IP address in the phone's network, with or without "
    ":PORT, to serve on with https. Default: this machine alone.",
)
@click.option(
    "--adb-reverse",
    is_flag=True,
    help="With --device web: make the page reachable on a phone's localhost, over a USB cable.",
)
@click.option(
    "--delegate-library",
    metavar="FILE",
    type=PATH,
    help="Shared library of an external delegate, as for bokeh-render.",
)
@click.option(
    "--allow-partial",
    is_flag=True,
    help="Accept a delegate that does not support all ops, as for bokeh-render.",
)
@click.option(
    "--input-range",
    metavar="LOW..HIGH",
    help="Values of black and white in the networks' input, as for bokeh-render.",
)
@click.option("--output-range", metavar="LOW..HIGH", help="The same for the networks' output.")
@click.option(
    "--size",
    metavar="HxW",
    help="Height and width at which to run files whose input size is open, such as 256x384.",
)
@click.option(
    "--signature", metavar="NAME", help="The signature to run, for files that have several."
)
@click.option(
    "--interpreter",
    type=click.Choice(list(INTERPRETERS)),
    help="TFLite interpreter to use, as for bokeh-render.",
)
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=TimeLimit(),
    default=TIMEOUT_SECONDS,
    show_default=True,
    help="Time limit for loading a model, for each inference and for each call of adb. A row that "
    "exceeds it fails.",
)
@click.option("--no-operators", is_flag=True, help="Do not profile the operators.")
@click.option(
    "--compare",
    metavar="JSON",
    type=PATH,
    help="Older report.json to check for regressions, with one or more of the limits below.",
)
@click.option(
    "--max-slowdown",
    type=Percentage(),
    help="Largest allowed increase of the median latency, such as 5%. Needs --compare.",
)
@click.option(
    "--max-psnr-drop",
    metavar="DB",
    type=FiniteRange(min=0),
    help="Largest allowed decrease of the mean, the pooled and the worst PSNR, such as 0.2. Needs "
    "--compare.",
)
@metric_limit_options
@click.option(
    "-o",
    "--output-dir",
    type=PATH,
    default=Path("bench"),
    show_default=True,
    help="Folder for report.json and report.html.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON on stdout.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print the table as Markdown.")
@verbose_option
@click.version_option(package_name="bokeh-tflite")
def main(**parameters: Any) -> None:
    """Measure the latency, the fidelity and the placement of .tflite MODELs.

    Without MODEL, the shipped models are measured. Failures are reported per row; the other rows
    still run.

    `bokeh-bench study` lists the studies behind the documentation's other tables. A model file
    named "study" is given as ./study.

    Exit codes: 0 success; 1 a row failed, or --compare found a regression; 2 wrong input; 3 the
    requested hardware is not available.
    """
    options = Options(
        **without_metric_limits(parameters),
        metric_limits=metric_limits(parameters),
        given=given_options(),
    )
    with exit_on_errors(
        extras="bench",
        verbose=options.verbose,
        interrupted="interrupted before the first row was finished",
    ) as session:
        # Imported here, so that --help does not load what only a benchmark needs.
        from bokeh_bench.run import run

        code, output = run(options, session)
    if output:
        print_on_stdout(output)
    sys.exit(code)
