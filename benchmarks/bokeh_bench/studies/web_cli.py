"""The command `bokeh-bench study web`."""

from __future__ import annotations

import click

from bokeh_bench.studies.session import json_options, print_result, study_session


@click.command("web")
@click.option(
    "--browser",
    metavar="PROGRAM",
    default="chromium",
    show_default=True,
    help="Chromium or Chrome, which runs without a window.",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=5),
    default=8,
    show_default=True,
    help="Number of interleaved blocks of runs, the page's and a bare loop's.",
)
@click.option(
    "--runs",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Number of runs in each block.",
)
@json_options
def web(browser: str, rounds: int, runs: int, as_json: bool) -> None:
    """Measure the shipped models in a browser on this machine, and beside the native interpreter.

    Also measured: the page's overhead over a bare loop of LiteRT.js, the bytes that the page loads,
    and the time to its first picture.
    """
    with study_session() as progress:
        from bokeh_bench.studies.web import measure, table
        from bokeh_runtime.shipped_models import SHIPPED_MODELS, shipped_model

        models = [shipped_model(name) for name in SHIPPED_MODELS]
        rows, load = measure(models, browser, rounds, runs, progress)
    print_result(as_json, table(rows, load), models, rows=rows, load=[load])
