"""The commands `bokeh-bench study arm64` and `bokeh-bench study arm64-costs`."""

from __future__ import annotations

from pathlib import Path

import click

from bokeh_bench.command_line import PATH
from bokeh_bench.studies.options import ENVIRONMENT, PROFILES, runners
from bokeh_bench.studies.session import json_options, print_result, study_session
from bokeh_runtime.errors import InputError


@click.command("arm64")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=PATH)
@click.option(
    "--pack",
    metavar="NPZ",
    type=PATH,
    required=True,
    help="Reference pack of the conversion: photos and the full model's outputs.",
)
@ENVIRONMENT
@PROFILES
@json_options
def arm64(
    files: tuple[Path, ...],
    pack: Path,
    environment: Path,
    profiles: tuple[str, ...],
    as_json: bool,
) -> None:
    """Run .tflite FILES on a phone's CPU kernels under QEMU.

    Measures the PSNR vs the full model and counts the instructions of one inference. Ratios are
    relative to the first file. There is no latency. Takes a minute or more for each file and CPU.
    """
    with study_session() as progress:
        from bokeh_bench.devices.arm64.measure import measure, table
        from bokeh_runtime.tflite.file import read_tflite
        from bokeh_runtime.tflite.reference_pack import load_reference

        reference = load_reference(pack)
        for file in files:
            read_tflite(file)
        rows = [
            row
            for runner in runners(environment, profiles)
            for row in measure(files, reference, runner, progress)
        ]
    print_result(as_json, table(rows), files, rows=rows)


@click.command("arm64-costs")
@ENVIRONMENT
@PROFILES
@json_options
def arm64_costs(environment: Path, profiles: tuple[str, ...], as_json: bool) -> None:
    """Count the instructions of operators under QEMU and compare them with the cost model.

    The cost model is the one that the mixed-precision search uses. It is that of a Cortex-A76.
    """
    with study_session() as progress:
        from bokeh_bench.devices.arm64.costs import (
            measure_costs,
            measure_operators,
            operator_table,
            table,
        )

        arm_runners = runners(environment, profiles)
        try:
            rows = [row for runner in arm_runners for row in measure_costs(runner, progress)]
            others = [row for runner in arm_runners for row in measure_operators(runner, progress)]
        except RuntimeError as error:
            raise InputError(str(error)) from error
    print_result(
        as_json, f"{table(rows)}\n\n{operator_table(others)}", [], rows=rows, operators=others
    )
