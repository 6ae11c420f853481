"""The command `bokeh-bench study`: one comparison behind a table of the documentation each."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from bokeh_bench.devices.arm64.runner import FOLDER, ArmRunner, MissingEnvironmentError
from bokeh_bench.workers.conversion import WAYS
from bokeh_convert.api import DEMO_SIZE, demo_model
from bokeh_convert.cli import Size
from bokeh_runtime.atomic_output import AtomicOutput, refuse_folder
from bokeh_runtime.backends.native_log import hide_native_log
from bokeh_runtime.errors import HardwareError, InputError, option_names
from bokeh_runtime.interrupt import INTERRUPTED, interruptible

_PATH = click.Path(path_type=Path)
_TRAINED_MODEL = click.argument("model", required=False, type=_PATH)
_SIZE = click.option(
    "--size",
    type=Size(),
    default=f"{DEMO_SIZE[0]}x{DEMO_SIZE[1]}",
    show_default=True,
    help="Input size of the converted files in pixels, height x width.",
)
_THREADS = click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="Number of CPU threads.",
)
_ENVIRONMENT = click.option(
    "--environment",
    metavar="DIR",
    type=_PATH,
    default=FOLDER,
    show_default=True,
    help="The folder that `make arm64` writes in a checkout of bokeh-tflite.",
)
_OUTPUT_KEY = "bokeh_bench.studies.output"


def _keep_output(context: click.Context, _: click.Parameter, path: Path | None) -> None:
    context.meta[_OUTPUT_KEY] = path
    if path is not None:  # what cannot be written is told before the work
        with _errors_reported():
            refuse_folder(path)
            with AtomicOutput(path.parent):
                pass


def _JSON(command: Any) -> Any:  # noqa: N802
    """Adds the options that say how a study gives its results; see `_print`."""
    command = click.option(
        "--json", "as_json", is_flag=True, help="Print JSON instead of the Markdown table."
    )(command)
    return click.option(
        "-o",
        "--output",
        metavar="FILE",
        type=_PATH,
        expose_value=False,
        callback=_keep_output,
        help="Write the JSON to FILE too.",
    )(command)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def study() -> None:
    """Run one of the comparisons behind the documentation's tables.

    Each prints a Markdown table on stdout. Exit codes: 0 done; 2 wrong input; 3 the asked hardware
    or environment is not here.
    """


@study.command("conversion")
@_TRAINED_MODEL
@_SIZE
@click.option(
    "--untrained",
    metavar="WIDTH",
    type=float,
    help="Convert an RGBD PyNET of this width with random weights instead of MODEL. Its time and "
    "memory are meaningful, its pictures are not.",
)
@click.option(
    "--representative-dataset",
    "photos",
    metavar="DIR",
    type=_PATH,
    help="Folder of photos, as for bokeh-convert.",
)
@click.option(
    "--arm64",
    is_flag=True,
    help=f"Also count instructions on a phone's CPU kernels, for which {FOLDER} is needed (`make "
    "arm64` in a checkout of bokeh-tflite). This takes a minute for each file.",
)
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(WAYS),
    help="Make only this file; may be repeated.",
)
@click.option(
    "--runs",
    type=click.IntRange(min=0),
    default=15,
    show_default=True,
    help="Timed runs of each file; 0 leaves the latency out.",
)
@_THREADS
@_JSON
@click.option("-v", "--verbose", is_flag=True, help="Show the libraries' own messages.")
def conversion(
    model: Path | None,
    untrained: float | None,
    photos: Path | None,
    arm64: bool,
    only: tuple[str, ...],
    verbose: bool,
    as_json: bool,
    size: tuple[int, int],
    runs: int,
    threads: int,
) -> None:
    """Convert MODEL with bokeh-convert and with other tools, and compare the files.

    Without MODEL, the trained demo model is converted.
    """
    with _errors_reported(verbose) as say, tempfile.TemporaryDirectory() as folder:
        from bokeh_bench.studies.conversion import BASELINE, measure, save_untrained, table

        runner = ArmRunner(FOLDER) if arm64 else None
        # Latency is a ratio to the baseline, which also computes the reference.
        ways = WAYS if not only else dict.fromkeys((BASELINE, *only))
        path = model or demo_model()
        if untrained is not None:
            path = save_untrained(untrained, Path(folder))
        rows = measure(
            path,
            size,
            Path(folder),
            photos=photos,
            ways=tuple(ways),
            runs=runs,
            threads=threads,
            runner=runner,
            say=say,
        )
    _print(as_json, table(rows), [path], rows=rows)


@study.command("arm64")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=_PATH)
@click.option(
    "--pack",
    metavar="NPZ",
    type=_PATH,
    required=True,
    help="The reference pack of the conversion: the photos and the full model's output for each.",
)
@_ENVIRONMENT
@_JSON
def arm64(files: tuple[Path, ...], pack: Path, environment: Path, as_json: bool) -> None:
    """Run .tflite FILES on a Cortex-A76's kernels, under QEMU.

    Measures the PSNR there and counts the instructions of one inference; it gives no time. The
    ratio is to the first file. A minute or more for each file.
    """
    with _errors_reported() as say:
        from bokeh_bench.devices.arm64.measure import measure, table
        from bokeh_runtime.tflite.file import read_tflite
        from bokeh_runtime.tflite.reference_pack import load_reference

        reference = load_reference(pack)
        for file in files:
            read_tflite(file)
        rows = measure(files, reference, ArmRunner(environment), say)
    _print(as_json, table(rows), files, rows=rows)


@study.command("arm64-costs")
@_ENVIRONMENT
@_JSON
def arm64_costs(environment: Path, as_json: bool) -> None:
    """Count the instructions of convolutions under QEMU and compare them with the cost model.

    The cost model is that of the mixed-precision search.
    """
    with _errors_reported() as say:
        from bokeh_bench.devices.arm64.costs import measure_costs, table

        runner = ArmRunner(environment)
        try:
            rows = measure_costs(runner, say)
        except RuntimeError as error:
            raise InputError(str(error)) from error
    _print(as_json, table(rows), [], rows=rows)


@study.command("render")
@click.option(
    "--model",
    "models",
    metavar="FILE",
    multiple=True,
    type=_PATH,
    help="A .tflite file; may be repeated. Without it, the shipped model is used.",
)
@click.option(
    "--photos",
    metavar="DIR",
    type=_PATH,
    default=Path("benchmarks/photos"),
    show_default=True,
    help="Folder of large JPEG photos; the default is in a checkout of bokeh-tflite.",
)
@click.option(
    "--runs",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Timed runs of each photo.",
)
@_JSON
def render(models: tuple[Path, ...], photos: Path, runs: int, as_json: bool) -> None:
    """Time the stages of whole photos, one of them scaled up to 50 megapixels too.

    Ratios are to the inference alone in the same process. Each stage is also timed on a busy
    machine, with two processes that this program starts. Two more tables say what the results keep
    of the photo's sharpness, and their PSNR, scaled down, to the network's output.
    """
    with _errors_reported() as say, tempfile.TemporaryDirectory() as folder:
        from bokeh_bench.studies import rendering
        from bokeh_runtime.model import shipped_model

        paths = models or (shipped_model(),)
        large = rendering.large_photos(photos)
        enlarged = rendering.enlarge(large[0], Path(folder))
        rows = rendering.measure(paths, [*large, enlarged], Path(folder), runs, say)
        kept = rendering.measure_kept(paths, large)
    tables = (rendering.table(rows), rendering.load_table(rows), rendering.kept_table(kept))
    _print(as_json, "\n\n".join(tables), paths, rows=rows, kept=kept)


@study.command("detail-fusion")
@click.argument("pairs", type=_PATH)
@_JSON
def detail_fusion(pairs: Path, as_json: bool) -> None:
    """Compare ways of full-resolution detail fusion on PAIRS, with an ideal network.

    PAIRS is a folder of NAME_sharp.jpg, NAME_bokeh.jpg (the target) and NAME_mask.png.
    """
    with _errors_reported():
        from bokeh_bench.studies.detail_fusion import compare, table

        rows = compare(pairs)
    _print(as_json, table(rows), [], rows=rows)


@study.command("gpu")
@_TRAINED_MODEL
@_SIZE
@_JSON
def gpu(model: Path | None, size: tuple[int, int], as_json: bool) -> None:
    """Convert MODEL with every scheme and compare the GPU's and the CPU's pictures.

    Both are compared with the full model's. Without MODEL, the trained demo model is converted.
    """
    with _errors_reported() as say, tempfile.TemporaryDirectory() as folder:
        from bokeh_bench.studies.gpu import measure, table

        path = model or demo_model()
        rows = measure(path, size, Path(folder), say)
    _print(as_json, table(rows), [path], rows=rows)


@study.command("agreement")
@click.argument("model", required=False, type=_PATH)
@_THREADS
@click.option(
    "--turns",
    type=click.IntRange(min=10),
    default=60,
    show_default=True,
    help="Runs against a bare loop.",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=5),
    default=7,
    show_default=True,
    help="Processes against LiteRT's benchmark.",
)
@_JSON
def agreement(model: Path | None, threads: int, turns: int, rounds: int, as_json: bool) -> None:
    """Compare bokeh-bench's latency of a .tflite MODEL with a bare loop's and LiteRT's benchmark's.

    Without MODEL, the shipped one is measured.
    """
    with _errors_reported() as say:
        from bokeh_bench.studies.agreement import measure, table
        from bokeh_runtime.model import shipped_model

        path = model or shipped_model()
        found = measure(path, threads, turns, rounds, say)
    _print(as_json, table(found), [path], rows=[found])


@contextlib.contextmanager
def _errors_reported(verbose: bool = False) -> Iterator[Callable[[str], None]]:
    """Holds back what libraries log, and ends the command with a line and an exit code on errors.

    Yields:
        Reports a step on a terminal, and nothing in a pipe; ends the work if a Ctrl-C was lost.
    """
    fault, exit_code = "", 0
    with hide_native_log(verbose) as stderr:
        try:
            with interruptible() as check:

                def say(what: str) -> None:
                    check()
                    if stderr.isatty():
                        click.echo(what, file=stderr)

                yield say
        except InputError as error:
            options = option_names(click.get_current_context().command)
            fault, exit_code = error.in_options(options), 2
        except (HardwareError, MissingEnvironmentError) as error:
            fault, exit_code = str(error), 3
        except ImportError as error:
            if error.name is None or error.name.startswith("bokeh"):
                raise
            fault = f"{error.name} is not installed; pip install 'bokeh-tflite[bench,convert]'"
            exit_code = 2
        except KeyboardInterrupt:
            fault, exit_code = "interrupted", INTERRUPTED
    if fault:
        click.echo(f"bokeh-bench: {fault}", err=True)
        sys.exit(exit_code)


def _print(as_json: bool, tables: str, models: Sequence[Path], **rows: Sequence[Any]) -> None:
    """Prints the tables or the JSON, and writes the JSON where --output says."""
    from bokeh_bench.studies.result import study_data, to_json, write_json

    context = click.get_current_context()
    output = context.meta[_OUTPUT_KEY]
    options = {key: value for key, value in context.params.items() if key != "as_json"}
    data = study_data(str(context.command.name), options, models, rows)
    if output is not None:
        with _errors_reported():
            write_json(output, data)
    click.echo(to_json(data) if as_json else tables)
