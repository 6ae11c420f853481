"""The command `bokeh-render`."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from bokeh_runtime.backends.delegates import DELEGATES, probe
from bokeh_runtime.backends.interpreter import INTERPRETERS
from bokeh_runtime.backends.native_log import hide_native_log
from bokeh_runtime.console import make_console, show_delegates, spinner
from bokeh_runtime.depth_model import DEPTH_INPUTS, DepthModel
from bokeh_runtime.errors import HardwareError, InputError, option_names
from bokeh_runtime.interrupt import INTERRUPTED, interruptible
from bokeh_runtime.model import BokehModel
from bokeh_runtime.render import RenderOptions
from bokeh_runtime.render_run import SCHEMA, RenderRequest, render_photos

Work = Callable[[Console, Callable[[], None]], dict[str, Any]]
"""Called with where to show what it does, and with what ends it if a Ctrl-C was lost; returns the
report."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("photo", required=False, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="The result, JPEG, PNG, WebP, AVIF or TIFF by its suffix; for a folder of photos, a "
    "folder. Without it, NAME.bokeh.jpg beside the photo.",
)
@click.option(
    "-m",
    "--model",
    type=click.Path(path_type=Path),
    help="A .tflite file; without it, the demo model that ships with the package.",
)
@click.option(
    "-d",
    "--delegate",
    type=click.Choice(DELEGATES),
    default="auto",
    show_default=True,
    help="What runs the network. auto takes the first of npu, gpu and cpu that runs all of it and "
    "draws the right picture; any other is an error where it cannot.",
)
@click.option(
    "--delegate-library",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The delegate's shared library, for boards that have one.",
)
@click.option(
    "--allow-partial",
    is_flag=True,
    help="Let the CPU run the operators that the delegate does not take.",
)
@click.option("--list-delegates", is_flag=True, help="Say which delegates are here, and end.")
@click.option(
    "--interpreter",
    type=click.Choice(list(INTERPRETERS)),
    help="Without it, the first of these that is installed.",
)
@click.option("--threads", type=click.IntRange(min=1), help="Of the CPU; all cores unless given.")
@click.option(
    "--depth",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="For a model that takes depth: a map of any size, near is bright, 8 or 16 bits or PFM; "
    "for a folder of photos, a folder of maps of the same names.",
)
@click.option(
    "--depth-model",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Draw the depth map with this .tflite file of a monocular depth network.",
)
@click.option(
    "--depth-input",
    type=click.Choice(list(DEPTH_INPUTS)),
    default="imagenet",
    show_default=True,
    help="The values that the depth network takes.",
)
@click.option("--far-is-bright", is_flag=True, help="The depth network draws far as bright.")
@click.option(
    "--strength",
    type=click.FloatRange(0, 1),
    default=1.0,
    show_default=True,
    help="1 draws what the network does, 0 the photo.",
)
@click.option("--network-resolution", is_flag=True, help="Write the network's own, small picture.")
@click.option("--compare", is_flag=True, help="Write RESULT.compare.jpg too: before and after.")
@click.option(
    "--quality",
    type=click.IntRange(1, 100),
    default=95,
    show_default=True,
    help="Of JPEG, WebP, AVIF and HEIC.",
)
@click.option("--overwrite", is_flag=True, help="In a folder, render again what is up to date.")
@click.option("--json", "as_json", is_flag=True, help="Print a report as JSON on stdout.")
@click.option("-v", "--verbose", is_flag=True, help="Show the libraries' own messages.")
@click.version_option(package_name="bokeh-tflite")
def main(
    photo: Path | None,
    output: Path | None,
    model: Path | None,
    delegate: str,
    delegate_library: Path | None,
    allow_partial: bool,
    list_delegates: bool,
    interpreter: str | None,
    threads: int | None,
    depth: Path | None,
    depth_model: Path | None,
    depth_input: str,
    far_is_bright: bool,
    strength: float,
    network_resolution: bool,
    compare: bool,
    quality: int,
    overwrite: bool,
    as_json: bool,
    verbose: bool,
) -> None:
    """Draw PHOTO, or each photo of a folder, with the shallow depth of field of a large lens.

    Exit codes: 0 done; 1 some photos of a folder failed; 2 wrong input; 3 the asked hardware is not
    here or cannot run the whole model.
    """
    request = RenderRequest(
        photo,
        output,
        depth,
        RenderOptions(strength, network_resolution, compare, quality),
        open_model=partial(
            BokehModel.open,
            model,
            delegate,
            threads=threads,
            interpreter=interpreter,
            delegate_library=delegate_library,
            allow_partial=allow_partial,
        ),
        open_depth_model=None
        if depth_model is None
        else partial(
            DepthModel,
            depth_model,
            values=depth_input,
            far_is_bright=far_is_bright,
            threads=threads,
            interpreter=interpreter,
        ),
        overwrite=overwrite,
    )
    work = _list_delegates if list_delegates else partial(render_photos, request)
    _do(work, as_json=as_json, verbose=verbose)


def _do(work: Work, *, as_json: bool, verbose: bool) -> None:
    """Does the work of the command, and ends with the exit code."""
    fault, code, report = None, 0, {}
    with hide_native_log(verbose) as stderr:
        try:
            with interruptible() as check:
                report = work(make_console(stderr), check)
            code = 1 if report.get("failures") else 0
        except InputError as error:
            fault, code = error.in_options(option_names(main)), 2
        except HardwareError as error:
            fault, code = error.in_options(option_names(main)), 3
        except KeyboardInterrupt:
            fault, code = "interrupted; finished photos are whole", INTERRUPTED
        gc.collect()  # LiteRT logs what it releases; that must happen while the log is hidden.
    if fault is not None:
        click.echo(f"bokeh-render: {fault}", err=True)
    elif as_json:
        click.echo(json.dumps(report, indent=1))
    sys.exit(code)


def _list_delegates(console: Console, _check: Callable[[], None]) -> dict[str, Any]:
    with spinner(console, "probing"):
        probes = probe()
    show_delegates(console, probes)
    return {"schema": SCHEMA, "delegates": [asdict(found) for found in probes]}
