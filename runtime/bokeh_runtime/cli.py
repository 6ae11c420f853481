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

from bokeh_runtime.backends.delegates import DELEGATES, EngineOptions, probe
from bokeh_runtime.backends.interpreter import INTERPRETERS
from bokeh_runtime.backends.native_log import hide_native_log
from bokeh_runtime.console import make_console, show_delegates, spinner
from bokeh_runtime.depth_model import DEPTH_INPUTS, DepthModel
from bokeh_runtime.errors import (
    HardwareError,
    InputError,
    given_arguments,
    option_names,
    path_fault,
)
from bokeh_runtime.finite_range import FiniteRange
from bokeh_runtime.interrupt import INTERRUPTED, interruptible
from bokeh_runtime.model import BokehModel
from bokeh_runtime.render import RenderOptions
from bokeh_runtime.render_run import SCHEMA, RenderRequest, render_photos
from bokeh_runtime.stdout import print_on_stdout
from bokeh_runtime.tflite.graph_choice import parse_size
from bokeh_runtime.tflite.value_range import ValueRange
from bokeh_runtime.web.command import PageRequest

Task = Callable[[Console, Callable[[], None]], dict[str, Any]]
"""Takes the console and the interrupt check of `interruptible`, and returns the JSON report."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("photo", required=False, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Path of the result. The suffix selects JPEG, PNG, WebP, AVIF or TIFF. For a folder of "
    "photos this is a folder.  [default: NAME.bokeh.jpg next to the photo]",
)
@click.option(
    "-m",
    "--model",
    type=click.Path(path_type=Path),
    help="The .tflite file of a bokeh network.  [default: the bundled demo model]",
)
@click.option(
    "-d",
    "--delegate",
    type=click.Choice(DELEGATES),
    default="auto",
    show_default=True,
    help="The hardware that runs the network. auto uses the first of npu, gpu and cpu that runs "
    "the whole model with a correct output. Any other choice fails if it cannot.",
)
@click.option(
    "--delegate-library",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Shared library of an external delegate, for boards that come with one; with -d npu, also "
    "a vendor's dispatch library, libLiteRtDispatch_VENDOR.so.",
)
@click.option(
    "--allow-partial",
    is_flag=True,
    help="Let the CPU run the operators that the delegate does not support.",
)
@click.option(
    "--input-range",
    metavar="LOW..HIGH",
    help="Values of black and white in the network's input, such as -1..1.  [default: what the "
    "file says]",
)
@click.option("--output-range", metavar="LOW..HIGH", help="The same for the network's output.")
@click.option(
    "--size",
    metavar="HxW",
    help="Height and width at which to run a file whose input size is open, such as 256x384.",
)
@click.option(
    "--signature", metavar="NAME", help="The signature to run, for a file that has several."
)
@click.option(
    "--list-delegates", is_flag=True, help="List the delegates with their devices, and exit."
)
@click.option(
    "--interpreter",
    type=click.Choice(list(INTERPRETERS)),
    help="The TFLite interpreter.  [default: the first of these that is installed]",
)
@click.option(
    "--threads", type=click.IntRange(min=1), help="Number of CPU threads.  [default: all cores]"
)
@click.option(
    "--depth",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Depth map for a model with a depth input: an image with 8 or 16 bits, float TIFF, NPY or "
    "PFM, of any size, near is bright. For a folder of photos, a folder of depth maps with the "
    "same names. `embedded` uses the depth map that is stored in the photo.  [default: one named "
    "after the photo, if the model needs it]",
)
@click.option(
    "--depth-model",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The .tflite file of a monocular depth network, which computes the depth maps.",
)
@click.option(
    "--depth-input",
    type=click.Choice(list(DEPTH_INPUTS)),
    default="imagenet",
    show_default=True,
    help="Value range or normalization of the depth network's input.",
)
@click.option(
    "--far-is-bright",
    is_flag=True,
    help="The depth map files or the depth network give depth, not inverse depth: far is bright.",
)
@click.option(
    "--strength",
    type=FiniteRange(0, 1),
    default=1.0,
    show_default=True,
    help="Weight of the network's output in the result; 0 is the unchanged photo.",
)
@click.option(
    "--network-resolution", is_flag=True, help="Write the network's output at its own resolution."
)
@click.option(
    "--compare", is_flag=True, help="Also write RESULT.compare.jpg, photo and result side by side."
)
@click.option(
    "--quality",
    type=click.IntRange(1, 100),
    default=95,
    show_default=True,
    help="Encoder quality of JPEG, WebP, AVIF and HEIC.",
)
@click.option(
    "--overwrite",
    is_flag=True,
    help="Render all of a folder's photos again, and replace edited results and other files.",
)
@click.option(
    "--serve",
    is_flag=True,
    help="Serve a page that renders photos in a browser, by the browser itself.",
)
@click.option(
    "--serve-on",
    metavar="ADDRESS",
    help="With --serve: this machine's IP address in a phone's network, with or without :PORT, to "
    "serve on with https.  [default: this machine alone]",
)
@click.option(
    "--adb-reverse",
    is_flag=True,
    help="With --serve: make the page reachable on a phone's localhost, over a USB cable.",
)
@click.option(
    "--export-site",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Write that page as static files, for any host with https.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON on stdout.")
@click.option("-v", "--verbose", is_flag=True, help="Show the log messages of native libraries.")
@click.version_option(package_name="bokeh-tflite")
def main(
    photo: Path | None,
    output: Path | None,
    model: Path | None,
    delegate: str,
    delegate_library: Path | None,
    allow_partial: bool,
    input_range: str | None,
    output_range: str | None,
    size: str | None,
    signature: str | None,
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
    **pages: Any,
) -> None:
    """Render PHOTO, or each photo of a folder, with a shallow depth of field (bokeh).

    Exit codes: 0 success; 1 some photos of a folder failed; 2 invalid input; 3 the requested
    hardware is missing or cannot run the whole model; 130 interrupted.
    """
    request = RenderRequest(
        photo,
        output,
        depth,
        RenderOptions(strength, network_resolution, compare, quality, far_is_bright),
        open_model=lambda: BokehModel.open(
            model,
            delegate,
            threads=threads,
            interpreter=interpreter,
            delegate_library=delegate_library,
            allow_partial=allow_partial,
            input_range=input_range,
            output_range=output_range,
            signature=signature,
            size=None if size is None else parse_size(size),
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
    task: Task = _list_delegates if list_delegates else partial(render_photos, request)
    if any(pages.values()):
        task = partial(_show_page, PageRequest(**pages), click.get_current_context())
    _run(task, as_json=as_json, verbose=verbose)


def _run(task: Task, *, as_json: bool, verbose: bool) -> None:
    """Runs the task, prints its report or error, and exits with the exit code."""
    message, code, report = None, 0, {}
    with hide_native_log(verbose) as stderr:
        try:
            with interruptible() as check:
                report = task(make_console(stderr), check)
            code = 1 if report.get("failures") else 0
        except InputError as error:
            message, code = error.in_options(option_names(main)), 2
        except HardwareError as error:
            message, code = error.in_options(option_names(main)), 3
        except OSError as error:
            message, code = path_fault(error), 2
        except KeyboardInterrupt:
            message, code = "interrupted; finished results are complete", INTERRUPTED
        gc.collect()  # LiteRT logs what it releases, so this must happen while the log is hidden.
    if message is not None:
        click.echo(f"bokeh-render: {message}", err=True)
    elif as_json:
        print_on_stdout(json.dumps(report, indent=1))
    sys.exit(code)


def _show_page(
    page: PageRequest, context: click.Context, console: Console, _check: Callable[[], None]
) -> dict[str, Any]:
    values = context.params
    page.check(values["photo"], given_arguments(context))
    options = EngineOptions(
        input_range=ValueRange.of_argument("input_range", values["input_range"]),
        output_range=ValueRange.of_argument("output_range", values["output_range"]),
        signature=values["signature"],
    )
    page.run(values["model"], options, console)
    return {}


def _list_delegates(console: Console, _check: Callable[[], None]) -> dict[str, Any]:
    with spinner(console, "probing delegates"):
        probes = probe()
    show_delegates(console, probes)
    return {"schema": SCHEMA, "delegates": [asdict(found) for found in probes]}
