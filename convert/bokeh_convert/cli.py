"""The command `bokeh-convert`."""

from __future__ import annotations

import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from bokeh_convert.api import convert
from bokeh_convert.console import console_on, progress_bar, show_conversions
from bokeh_convert.demo import demo_model
from bokeh_convert.options import LEVELS, PASS_NAMES, SCHEME_NAMES
from bokeh_convert.result import Conversion
from bokeh_runtime.backends.native_log import hide_native_log
from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.resample import RESAMPLING
from bokeh_runtime.interrupt import INTERRUPTED, interruptible


class Size(click.ParamType):  # type: ignore[type-arg]
    """HEIGHTxWIDTH in pixels."""

    name = "HxW"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, int]:
        match = re.fullmatch(r"(\d+)[xX](\d+)", value)
        if match is None:
            self.fail(f"'{value}' is not HEIGHTxWIDTH, such as 256x384", param, ctx)
        return int(match[1]), int(match[2])


class _Schemes(click.ParamType):  # type: ignore[type-arg]
    name = "SCHEME"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, ...]:
        names: tuple[str, ...] = SCHEME_NAMES if value == "all" else tuple(value.split(","))
        for name in names:
            if name not in SCHEME_NAMES:
                choices = ", ".join((*SCHEME_NAMES, "all"))
                self.fail(f"'{name}' is not one of {choices}", param, ctx)
        return names


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model", required=False, type=click.Path(path_type=Path))
@click.option("--demo", is_flag=True, help="Convert the trained model that ships with the package.")
@click.option(
    "-q",
    "--quant",
    type=_Schemes(),
    multiple=True,
    help="float16 (unless given), float32, dynamic (int8 weights), int8 (int8 weights and "
    "activations), int16x8 (int8 weights, int16 activations), full-integer (int8 throughout, "
    "uint8 in and out) or all; several with commas.",
)
@click.option(
    "--full-integer",
    is_flag=True,
    help="Make the int8 file without any float operator, uint8 in and out.",
)
@click.option(
    "--representative-dataset",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Photos that calibrate int8 and judge the result (none does both), of any "
    "size; a depth PNG of the same name beside each for a model that takes depth. "
    "Without it, a few photos that ship with the package.",
)
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="The most photos that calibrate.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the choice of photos.")
@click.option("--size", type=Size(), help="Input size in pixels, for a model that leaves it open.")
@click.option(
    "--min-psnr",
    "min_psnr_db",
    metavar="DB",
    type=float,
    help="Exit with 1 if the PSNR against the full model is lower: the mean over the photos whose "
    "pictures differ, or that of the pooled error of all photos. Also what int8 is planned for, "
    "40 unless given.",
)
@click.option(
    "--min-psnr-worst",
    "min_psnr_db_worst",
    metavar="DB",
    type=float,
    help="Exit with 1 if the worst photo's PSNR is lower; 3 dB under --min-psnr unless given.",
)
@click.option(
    "--max-latency",
    metavar="RATIO",
    type=float,
    help="Exit with 1 if no int8 plan that costs less keeps the PSNR: instructions on a phone's "
    "CPU over those of the float32 file, estimated.",
)
@click.option(
    "--trade-off",
    is_flag=True,
    help="Try more int8 plans than needed, and draw PSNR against cost.",
)
@click.option(
    "--resampling",
    type=click.Choice(RESAMPLING),
    help="How photos were scaled to the input in training; bicubic for the authors' checkpoints, "
    "area for others.",
)
@click.option(
    "--level",
    type=click.Choice(LEVELS),
    help="Of several outputs, the one of this level's size: l0 the input's, l1 half of it ... "
    "l_up twice. Without it, the largest, if no other is as large.",
)
@click.option("--output-name", metavar="NAME", help="Of several outputs, the one of this name.")
@click.option("--width", type=float, help="For weights alone: PyNET's width; 1.0 unless given.")
@click.option(
    "--input-channels",
    type=click.IntRange(3, 4),
    help="For weights alone: 3 (RGB) or 4 (RGB + depth); 4 unless given.",
)
@click.option(
    "--residual",
    is_flag=True,
    default=None,
    help="For weights alone: the network's output is added to the photo.",
)
@click.option(
    "--custom-objects",
    metavar="MODULE:NAME",
    multiple=True,
    help="A layer class of yours that the model needs; may be repeated.",
)
@click.option(
    "--trust-source",
    is_flag=True,
    help="Run code that the model file holds (Lambda layers and the like).",
)
@click.option(
    "--no-pass",
    "skip_passes",
    type=click.Choice(PASS_NAMES),
    multiple=True,
    help="A rewrite of the graph to leave out; may be repeated.",
)
@click.option(
    "-o",
    "--output-dir",
    metavar="DIR",
    type=click.Path(path_type=Path),
    default=Path(),
    help="Where the files go; the current folder unless given.",
)
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads; all cores unless given.")
@click.option("--json", "as_json", is_flag=True, help="Print the reports as JSON on stdout.")
@click.option("-v", "--verbose", is_flag=True, help="Show what the libraries log.")
@click.version_option(package_name="bokeh-tflite")
def main(
    model: Path | None,
    demo: bool,
    quant: tuple[tuple[str, ...], ...],
    full_integer: bool,
    as_json: bool,
    verbose: bool,
    **options: Any,  # by the names of the arguments of `convert`
) -> None:
    """Convert a trained bokeh MODEL to .tflite, and measure what it draws.

    MODEL is an .h5 or .keras file, a SavedModel folder, an .h5 of PyNET's weights alone, or the
    prefix of a TF1 checkpoint of the PyNET authors' code.

    Every file is run on photos that calibration did not see and held against the full model. The
    report, the pictures side by side, and a pack for measuring it again elsewhere stand beside it.

    Exit codes: 0 done; 1 under --min-psnr or --min-psnr-worst, or a broken picture; 2 wrong input
    or options; 130 interrupted.
    """
    if demo == (model is not None):
        raise click.UsageError("give either a MODEL or --demo")
    conversions: list[Conversion] = []
    fault, exit_code = None, 2
    with hide_native_log(verbose) as stderr:
        console = console_on(stderr)
        try:
            with interruptible() as check, progress_bar(console, check) as progress:
                conversions = convert(
                    model or demo_model(),
                    quant=_schemes(quant, full_integer),
                    progress=progress,
                    **options,
                )
            show_conversions(console, conversions)
        except InputError as error:
            fault = str(error)
        except KeyboardInterrupt:
            fault, exit_code = "interrupted; no file was changed", INTERRUPTED
    if fault is not None:
        click.echo(f"bokeh-convert: {fault}", err=True)
        sys.exit(exit_code)
    if as_json:
        from bokeh_convert.report import to_json

        click.echo(to_json({"conversions": [asdict(c.report) for c in conversions]}))
    sys.exit(0 if all(conversion.report.passed for conversion in conversions) else 1)


def _schemes(quant: tuple[tuple[str, ...], ...], full_integer: bool) -> list[str]:
    names = [name for given in quant for name in given]
    if not full_integer:
        return names or ["float16"]
    return ["full-integer" if name == "int8" else name for name in names] or ["full-integer"]
