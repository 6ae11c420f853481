"""Options that several studies have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from bokeh_bench.command_line import PATH
from bokeh_bench.devices.arm64.profiles import DEFAULT_PROFILE
from bokeh_bench.devices.arm64.profiles import PROFILES as CPUS
from bokeh_bench.devices.arm64.runner import FOLDER, ArmRunner
from bokeh_convert.api import DEMO_SIZE
from bokeh_convert.cli import Size

MODEL = click.argument("model", required=False, type=PATH)
SIZE = click.option(
    "--size",
    type=Size(),
    default=f"{DEMO_SIZE[0]}x{DEMO_SIZE[1]}",
    show_default=True,
    help="Input size of the converted files in pixels, height x width.",
)
THREADS = click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="Number of CPU threads.",
)
PROFILES = click.option(
    "--profile",
    "profiles",
    multiple=True,
    type=click.Choice(list(CPUS)),
    help=f"CPU to emulate; may be repeated. Default: {DEFAULT_PROFILE.name}.",
)
ENVIRONMENT = click.option(
    "--environment",
    metavar="DIR",
    type=PATH,
    default=FOLDER,
    show_default=True,
    help="Folder that `make arm64` sets up in a checkout of bokeh-tflite.",
)


def runners(environment: Path, names: Sequence[str]) -> list[ArmRunner]:
    """Returns what counts instructions, one for each CPU, or for the default one.

    Args:
        environment: Folder that `make arm64` sets up.
        names: Names of profiles, the values of `--profile`.

    Raises:
        HardwareError: If the environment is not set up.
    """
    profiles = [CPUS[name] for name in names] or [DEFAULT_PROFILE]
    return [ArmRunner(environment, profile) for profile in profiles]
