"""The benchmark programs: `python -m bokeh_bench`."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import click

from bokeh_bench.one_conversion import WAYS
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
@click.option(
    "--untrained",
    metavar="WIDTH",
    type=float,
    help="Instead of MODEL, an RGBD PyNET of this width with random weights: its time and memory "
    "mean something, its pictures do not.",
)
@click.option("--only", multiple=True, type=click.Choice(WAYS), help="Of these; may be repeated.")
@click.option("--runs", type=click.IntRange(min=0), default=15, show_default=True)
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
@click.option("-v", "--verbose", is_flag=True, help="Show what the libraries log.")
def conversion(
    model: Path | None,
    untrained: float | None,
    only: tuple[str, ...],
    verbose: bool,
    as_json: bool,
    size: tuple[int, int],
    runs: int,
    threads: int,
) -> None:
    """Convert MODEL (the shipped one unless given) by us and by TFLiteConverter; compare."""
    fault = None
    with quiet(verbose) as stderr, tempfile.TemporaryDirectory() as folder:
        # Late, so that what TensorFlow logs while it loads is held back.
        from bokeh_bench.conversion import BASELINE, measure, table
        from bokeh_convert.report import to_json

        def say(what: str) -> None:
            if stderr.isatty():
                click.echo(what, file=stderr)

        # Latency is a ratio to the baseline, which also draws the reference.
        ways = WAYS if not only else dict.fromkeys((BASELINE, *only))
        try:
            path = model or demo_model()
            if untrained is not None:
                path = _untrained(untrained, Path(folder))
            rows = measure(
                path, size, Path(folder), ways=tuple(ways), runs=runs, threads=threads, say=say
            )
        except InputError as error:
            fault = str(error)
    if fault is not None:
        click.echo(f"bokeh_bench: {fault}", err=True)
        sys.exit(2)
    as_data = {"rows": [asdict(row) for row in rows]}
    click.echo(to_json(as_data) if as_json else table(rows))


def _untrained(width: float, folder: Path) -> Path:
    from bokeh_convert.pynet import pynet

    path = folder / "untrained.keras"
    pynet(width=width).save(path)
    return path


if __name__ == "__main__":
    main()
