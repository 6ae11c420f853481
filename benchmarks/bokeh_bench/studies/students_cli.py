"""The command `bokeh-bench study students`."""

from __future__ import annotations

from pathlib import Path

import click

from bokeh_bench.command_line import PATH
from bokeh_bench.studies.session import json_options, print_result, study_session


@click.command("students")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=PATH)
@json_options
def students(runs: tuple[Path, ...], as_json: bool) -> None:
    """Show how near students came to their teachers, and what they cost.

    RUN is a folder that `bokeh-train distill` or `bokeh-train finetune` wrote.
    """
    with study_session():
        from bokeh_bench.studies.students import read_students, table

        rows = read_students(runs)
    models = [run / "model.h5" for run in runs]
    print_result(as_json, table(rows), models, rows=rows)
