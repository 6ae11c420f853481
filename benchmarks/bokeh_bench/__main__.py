"""The benchmark programs: `python -m bokeh_bench`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from bokeh_convert.api import DEMO_SIZE, demo_model
from bokeh_convert.cli import Size
from bokeh_convert.quiet import quiet
from bokeh_runtime.errors import InputError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Measure converted models. Figures in the README come from here."""


@main.command()
@click.argument("model", required=False, type=click.Path(path_type=Path))
@click.option("--size", type=Size(), default=f"{DEMO_SIZE[0]}x{DEMO_SIZE[1]}", show_default=True)
@click.option("--runs", type=click.IntRange(min=1), default=15, show_default=True)
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
@click.option("-v", "--verbose", is_flag=True, help="Show what the libraries log.")
def conversion(model: Path | None, verbose: bool, as_json: bool, **options: Any) -> None:
    """Convert MODEL (the shipped one unless given) by us and by TFLiteConverter; compare."""
    fault = None
    with quiet(verbose) as stderr:
        # Late, so that what TensorFlow logs while it loads is held back.
        from bokeh_bench.conversion import measure, table
        from bokeh_convert.report import to_json

        def say(what: str) -> None:
            if stderr.isatty():
                click.echo(what, file=stderr)

        try:
            rows = measure(model or demo_model(), say=say, **options)
        except InputError as error:
            fault = str(error)
    if fault is not None:
        click.echo(f"bokeh_bench: {fault}", err=True)
        sys.exit(2)
    as_data = {"rows": [asdict(row) for row in rows]}
    click.echo(to_json(as_data) if as_json else table(rows))


if __name__ == "__main__":
    main()
