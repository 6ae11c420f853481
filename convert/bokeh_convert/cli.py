"""The command `bokeh-convert`."""

from __future__ import annotations

import re
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from bokeh_convert.api import convert
from bokeh_convert.console import console_on, progress_bar, show_conversions
from bokeh_convert.demo import DEMO_MODELS, demo_model
from bokeh_convert.npu_command import exit_code_for, npu_options, show_licences, show_npus
from bokeh_convert.options import LEVELS, SCHEME_NAMES
from bokeh_convert.passes import OPTIONAL_PASS_NAMES, PASS_NAMES
from bokeh_convert.quantize.schemes import DEFAULT_SCHEME, SCHEMES
from bokeh_convert.result import Conversion
from bokeh_convert.targets import targets
from bokeh_runtime.backends.native_log import hide_native_log
from bokeh_runtime.errors import (
    HardwareError,
    InputError,
    missing_package,
    option_names,
    path_fault,
)
from bokeh_runtime.imaging.resample import RESAMPLING
from bokeh_runtime.interrupt import INTERRUPTED, interruptible
from bokeh_runtime.stdout import print_on_stdout


class Size(click.ParamType):  # type: ignore[type-arg]
    """An image size on the command line: HEIGHTxWIDTH in pixels, returned as (height, width)."""

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


class _Targets(click.ParamType):  # type: ignore[type-arg]
    name = "TARGET"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, ...]:
        names = tuple(value.split(","))
        for name in names:
            if name not in targets():
                self.fail(f"'{name}' is not one of {', '.join(targets())}", param, ctx)
        return names


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model", required=False, type=click.Path(path_type=Path))
@click.option(
    "--demo",
    is_flag=False,
    flag_value="pynet",
    type=click.Choice(tuple(DEMO_MODELS)),
    help="Convert a trained model that ships with the package: a small PyNET (the default), or "
    "its faster student.",
)
@click.option(
    "-q",
    "--quant",
    type=_Schemes(),
    multiple=True,
    help="Quantization schemes, separated by commas: "
    + ", ".join(f"{scheme.name} ({scheme.summary})" for scheme in SCHEMES.values())
    + f", or all. Default: what --target runs best, else {DEFAULT_SCHEME}.",
)
@click.option(
    "--target",
    "targets",
    type=_Targets(),
    multiple=True,
    help="What the file must run on, separated by commas: "
    + ", ".join(f"{target.name} ({target.summary})" for target in targets().values())
    + ". Chooses the scheme, unless --quant is given, and the graph rewrites that it needs.",
)
@click.option(
    "--full-integer",
    is_flag=True,
    help="Short for --quant full-integer. Together with --quant, it replaces int8.",
)
@click.option(
    "--representative-dataset",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder of photos of any size for calibration and verification, with subfolders; each "
    "photo is used for only one of them. A model with depth input needs a depth map for each "
    "photo: original_depth/N.png for original/N.jpg, or a PNG of the same name beside it. By "
    "default, a few photos that ship with the package.",
)
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="Maximum number of calibration photos.",
)
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    help="Random seed for the calibration / held-out split.",
)
@click.option(
    "--size", type=Size(), help="Input size in pixels, if the model does not fix its input size."
)
@click.option(
    "--min-psnr",
    "min_psnr_db",
    metavar="DB",
    type=float,
    help="Exit with code 1 if the PSNR against the full model is lower: the mean over the photos "
    "whose outputs differ, or the PSNR of the pooled error of all photos. Also a target of the "
    "mixed-precision search of int8 and dynamic, there 42 by default.",
)
@click.option(
    "--min-psnr-worst",
    "min_psnr_db_worst",
    metavar="DB",
    type=float,
    help="Exit with code 1 if the PSNR of the worst photo is lower. By default, 3 dB below "
    "--min-psnr. Also a target of the mixed-precision search.",
)
@click.option(
    "--max-grain",
    metavar="X",
    type=float,
    help="Exit with code 1 if the grain of the worst photo is higher: fine noise in smooth areas "
    "of the full model's output, in 1/255 of the luminance. Rounding to 8 bits gives 0.2 to "
    "0.3, and less than about 0.5 is not seen. Photos without smooth areas do not count. The "
    "mean is shown as well, and has no limit. Also a target of the mixed-precision search, there "
    "0.75 by default.",
)
@click.option(
    "--max-latency",
    metavar="RATIO",
    type=float,
    help="Exit with code 1 if no int8 or dynamic file below this cost meets the search's targets. "
    "The cost is estimated: instructions on a phone's CPU, relative to the float32 file.",
)
@click.option(
    "--trade-off",
    is_flag=True,
    help="Continue the mixed-precision search after its target is met, and plot PSNR against cost.",
)
@click.option(
    "--resampling",
    type=click.Choice(RESAMPLING),
    help="How photos were resized to the network input in training. By default, bicubic for "
    "checkpoints of the PyNET authors and area for other models.",
)
@click.option(
    "--input-range",
    metavar="LOW..HIGH",
    help="Values of black and white in the network's input: 0..1, -1..1, 0..255 or others. By "
    "default, they are found by the network's operators and by its output on photos.",
)
@click.option(
    "--output-range",
    metavar="LOW..HIGH",
    help="The same for the network's output.",
)
@click.option(
    "--level",
    type=click.Choice(LEVELS),
    help="If the model has several outputs, use the one of this size: l0 is the size of the input, "
    "l1 half of it, and so on; l_up is twice the size. By default, the largest output.",
)
@click.option(
    "--output-name",
    metavar="NAME",
    help="If the model has several outputs, use the one with this name.",
)
@click.option(
    "--width",
    type=float,
    help="For a weights file: channel multiplier of the PyNET. By default, 1.0.",
)
@click.option(
    "--input-channels",
    type=click.IntRange(3, 4),
    help="For a weights file: 3 (RGB) or 4 (RGB + depth). By default, 4.",
)
@click.option(
    "--residual",
    is_flag=True,
    default=None,
    help="For a weights file: the network's output is added to the photo.",
)
@click.option(
    "--custom-objects",
    metavar="MODULE:NAME|FILE.py:NAME",
    multiple=True,
    help="Your own layer class that the model uses; may be repeated.",
)
@click.option(
    "--teacher",
    metavar="MODEL",
    type=click.Path(path_type=Path),
    help="Compare the files with this model, from which MODEL was distilled, and show the distance "
    "from MODEL, too.",
)
@click.option(
    "--trust-source",
    is_flag=True,
    help="Run code that the model file contains, such as Lambda layers.",
)
@click.option(
    "--pass",
    "extra_passes",
    type=click.Choice(OPTIONAL_PASS_NAMES),
    multiple=True,
    help="Also apply this graph rewrite, which is off by default; may be repeated.",
)
@click.option(
    "--no-pass",
    "skip_passes",
    type=click.Choice(PASS_NAMES),
    multiple=True,
    help="Skip this graph rewrite; may be repeated.",
)
@npu_options
@click.option(
    "-o",
    "--output-dir",
    metavar="DIR",
    type=click.Path(path_type=Path),
    default=Path(),
    help="Output folder. By default, the current folder.",
)
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads. By default, all cores.")
@click.option("--json", "as_json", is_flag=True, help="Print the reports as JSON on stdout.")
@click.option(
    "-v",
    "--verbose",
    is_flag=True,
    help="Show the log messages of the libraries, and where an error comes from.",
)
@click.version_option(package_name="bokeh-tflite")
def main(
    model: Path | None,
    demo: str | None,
    quant: tuple[tuple[str, ...], ...],
    full_integer: bool,
    targets: tuple[tuple[str, ...], ...],
    npu: tuple[tuple[str, ...], ...],
    list_npus: bool,
    emulate: bool,
    emulate_photos: int | None,
    as_json: bool,
    verbose: bool,
    **options: Any,  # arguments of `convert`
) -> None:
    """Convert a trained bokeh MODEL to .tflite files and verify their output.

    MODEL is an .h5 or .keras file, a SavedModel folder, an .h5 file of PyNET weights, or the prefix
    of a TF1 checkpoint of the PyNET authors' code.

    Each file is run on held-out photos, which calibration did not use, and its output is compared
    with the full model's. A report, a side-by-side picture, and a reference pack to repeat the
    measurement elsewhere are written to the same folder.

    Exit codes: 0 done; 1 below --min-psnr or --min-psnr-worst, above --max-grain or --max-latency,
    or an invalid output; 2 wrong input or options; 3 the compiler of an NPU is missing, or leaves
    operators to the CPU and --allow-partial is not given; 130 interrupted.
    """
    if list_npus:
        show_npus()
        return
    if (demo is not None) == (model is not None):
        raise click.UsageError("give either MODEL or --demo")
    if demo == "student" and options["teacher"] is None:
        options["teacher"] = demo_model()
    conversions: list[Conversion] = []
    fault, exit_code = None, 2
    with hide_native_log(verbose) as stderr:
        console = console_on(stderr)
        try:
            with interruptible() as check, progress_bar(console, check) as progress:
                npus = [name for given in npu for name in given]
                show_licences(stderr, npus)
                conversions = convert(
                    model or demo_model(demo or "pynet"),
                    quant=_schemes(quant, full_integer),
                    targets=[name for given in targets for name in given],
                    npu=npus,
                    emulate_photos=emulate_photos or int(emulate),
                    progress=progress,
                    **options,
                )
            show_conversions(console, conversions, target_reasons=bool(targets))
        except InputError as error:
            fault = error.in_options(option_names(main))
            if verbose and error.__cause__ is not None:
                traceback.print_exception(error.__cause__, file=stderr)
        except HardwareError as error:
            fault, exit_code = error.in_options(option_names(main)), 3
        except ImportError as error:
            fault = missing_package(error, "convert")
        except OSError as error:
            fault = path_fault(error)
        except KeyboardInterrupt:
            fault, exit_code = "interrupted; no file was changed", INTERRUPTED
    if fault is not None:
        click.echo(f"bokeh-convert: {fault}", err=True)
        sys.exit(exit_code)
    if as_json:
        from bokeh_convert.report import to_json

        print_on_stdout(to_json({"conversions": [asdict(c.report) for c in conversions]}))
    sys.exit(exit_code_for(conversions, allow_partial=options["allow_partial"]))


def _schemes(quant: tuple[tuple[str, ...], ...], full_integer: bool) -> list[str] | None:
    names = [name for given in quant for name in given]
    if not full_integer:
        return names or None
    return ["full-integer" if name == "int8" else name for name in names] or ["full-integer"]
