"""The command `bokeh-bench study npu`."""

from __future__ import annotations

from pathlib import Path

import click

from bokeh_bench.command_line import PATH
from bokeh_bench.studies.options import MODEL, SIZE, THREADS
from bokeh_bench.studies.session import json_options, print_result, study_session
from bokeh_convert.api import demo_model
from bokeh_runtime.errors import InputError


@click.command("npu")
@MODEL
@SIZE
@THREADS
@click.option(
    "--npu",
    "npus",
    metavar="VENDOR:CHIP",
    multiple=True,
    default=("qualcomm:SM8650", "qualcomm:SM8550"),
    show_default=True,
    help="NPU to compile for; may be repeated.",
)
@click.option(
    "--emulate",
    metavar="VENDOR:CHIP",
    multiple=True,
    help="NPU whose files are also emulated; may be repeated. Default: all.",
)
@click.option(
    "--photos",
    type=click.IntRange(min=0),
    default=4,
    show_default=True,
    help="Number of verification photos to emulate, which take minutes each; 0 for none.",
)
@click.option(
    "--openvino/--no-openvino",
    default=True,
    help="Also run the files with Intel's OpenVINO, and compare its time with XNNPACK's.",
)
@click.option(
    "--work-dir",
    metavar="DIR",
    type=PATH,
    default=Path("build/npu"),
    show_default=True,
    help="Folder for the compiled files and emulated outputs. What is there is used again.",
)
@json_options
def npu(
    model: Path | None,
    size: tuple[int, int],
    threads: int,
    npus: tuple[str, ...],
    emulate: tuple[str, ...],
    photos: int,
    openvino: bool,
    work_dir: Path,
    as_json: bool,
) -> None:
    """Compile the trained MODEL for NPUs with several schemes, and emulate the compiled files.

    Compares their output with the full model's. Without MODEL, the demo model is converted. A run
    that was interrupted goes on where it stopped.
    """
    with study_session() as progress:
        from bokeh_bench.studies import openvino as with_openvino
        from bokeh_bench.studies.npu import measure, table
        from bokeh_bench.studies.npu_files import Plan

        if emulate and not photos:
            raise InputError("--emulate needs photos; omit it, or --photos 0")
        path = model or demo_model()
        plan = Plan(size, threads, npus, emulate or npus, photos, work_dir)
        rows = measure(path, plan, progress)
        others = with_openvino.measure(path, plan, progress) if openvino else []
    tables = [table(rows), *([with_openvino.table(others)] if others else [])]
    print_result(as_json, "\n\n".join(tables), [path], rows=rows, openvino=others)
