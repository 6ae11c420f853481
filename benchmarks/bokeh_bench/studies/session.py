"""What the studies share: error handling, progress, and the options for their results."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from bokeh_bench.command_line import PATH, exit_on_errors
from bokeh_runtime.atomic_output import AtomicOutput, refuse_folder
from bokeh_runtime.stdout import print_on_stdout

_OUTPUT_KEY = "bokeh_bench.studies.output"


@contextlib.contextmanager
def study_session(verbose: bool = False) -> Iterator[Callable[[str], None]]:
    """Ends the command with one line and an exit code on errors.

    Yields:
        A function that shows a step on a terminal, and nothing in a pipe.
    """
    with exit_on_errors(extras="bench,convert", verbose=verbose) as session:

        def progress(step: str) -> None:
            session.check_interrupt()
            if session.stderr.isatty():
                click.echo(step, file=session.stderr)

        yield progress


def json_options(command: Any) -> Any:
    """Adds the options `--json` and `--output` to a study; see `print_result`."""
    command = click.option(
        "--json", "as_json", is_flag=True, help="Print JSON instead of the Markdown table."
    )(command)
    return click.option(
        "-o",
        "--output",
        metavar="FILE",
        type=PATH,
        expose_value=False,
        callback=_keep_output,
        help="Write the JSON to FILE too.",
    )(command)


def _keep_output(context: click.Context, _: click.Parameter, path: Path | None) -> None:
    context.meta[_OUTPUT_KEY] = path
    if path is not None:  # fails before the measurement if the file cannot be written
        with study_session():
            refuse_folder(path)
            with AtomicOutput(path.parent):
                pass


def print_result(as_json: bool, tables: str, models: Sequence[Path], **rows: Sequence[Any]) -> None:
    """Prints the tables or the JSON, and writes the JSON to the file of `--output`."""
    from bokeh_bench.studies.result import study_data, to_json, write_json

    context = click.get_current_context()
    output = context.meta[_OUTPUT_KEY]
    options = {key: value for key, value in context.params.items() if key != "as_json"}
    data = study_data(str(context.command.name), options, models, rows)
    if output is not None:
        with study_session():
            write_json(output, data)
    print_on_stdout(to_json(data) if as_json else tables)
