"""The command `bokeh-bench study input-noise`."""

from __future__ import annotations

from pathlib import Path

import click

from bokeh_bench.command_line import PATH
from bokeh_bench.studies.session import json_options, print_result, study_session
from bokeh_runtime.finite_range import FiniteRange


@click.command("input-noise")
@click.argument("files", metavar="[FILE]...", nargs=-1, type=PATH)
@click.option(
    "--noise",
    type=FiniteRange(min=0, min_open=True),
    default=6e-8,
    show_default=True,
    help="Largest absolute value of the noise. 6e-8 is half the distance of the float32 numbers "
    "below 1.",
)
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="How often each photo is run, each time with other noise.",
)
@json_options
def input_noise(files: tuple[Path, ...], noise: float, seeds: int, as_json: bool) -> None:
    """Measure how far the last bits of the input change the output of .tflite FILES.

    Without FILES, the shipped models are measured, on the CPU with one thread.
    """
    with study_session() as progress:
        from bokeh_bench.studies.input_noise import measure, table
        from bokeh_runtime.shipped_models import SHIPPED_MODELS, shipped_model

        models = files or [shipped_model(name) for name in SHIPPED_MODELS]
        rows = measure(models, noise, seeds, progress)
    print_result(as_json, table(rows), models, rows=rows)
