"""The benchmark programs: `python -m bokeh_bench`."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn, TextIO

import click

from bokeh_bench.devices.arm64.runner import ArmRunner, MissingEnvironmentError
from bokeh_bench.workers.conversion import WAYS
from bokeh_convert.api import DEMO_SIZE, demo_model
from bokeh_convert.cli import Size
from bokeh_runtime.backends.native_log import quiet
from bokeh_runtime.errors import HardwareError, InputError
from bokeh_runtime.interrupt import interruptible

ARM64_FOLDER = Path("build/arm64")
_ENVIRONMENT = click.option(
    "--environment",
    metavar="DIR",
    type=click.Path(path_type=Path),
    default=ARM64_FOLDER,
    show_default=True,
    help="What `make arm64` made.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.pass_context
def main(context: click.Context) -> None:
    """Measure converted models. Figures in the README come from here."""
    context.obj = context.with_resource(interruptible())


@main.command()
@click.argument("model", required=False, type=click.Path(path_type=Path))
@click.option("--size", type=Size(), default=f"{DEMO_SIZE[0]}x{DEMO_SIZE[1]}", show_default=True)
@click.option(
    "--untrained",
    metavar="WIDTH",
    type=float,
    help="Instead of MODEL, an RGBD PyNET of this width with random weights: its time and memory "
    "mean something, its pictures do not.",
)
@click.option(
    "--representative-dataset",
    "photos",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Photos as for bokeh-convert.",
)
@click.option(
    "--arm64",
    is_flag=True,
    help="Count instructions on a phone's CPU kernels too (`make arm64` first): a minute a file.",
)
@click.option("--only", multiple=True, type=click.Choice(WAYS), help="Of these; may be repeated.")
@click.option("--runs", type=click.IntRange(min=0), default=15, show_default=True)
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
@click.option("-v", "--verbose", is_flag=True, help="Show what the libraries log.")
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
    """Convert MODEL (the shipped one unless given) by us and by other tools; compare."""
    fault = None
    runner = _arm_runner(ARM64_FOLDER) if arm64 else None
    with quiet(verbose) as stderr, tempfile.TemporaryDirectory() as folder:
        # Late, so that what TensorFlow logs while it loads is held back.
        from bokeh_bench.studies.conversion import BASELINE, measure, table
        from bokeh_convert.report import to_json

        # Latency is a ratio to the baseline, which also draws the reference.
        ways = WAYS if not only else dict.fromkeys((BASELINE, *only))
        try:
            path = model or demo_model()
            if untrained is not None:
                path = _untrained(untrained, Path(folder))
            rows = measure(
                path,
                size,
                Path(folder),
                photos=photos,
                ways=tuple(ways),
                runs=runs,
                threads=threads,
                runner=runner,
                say=_teller(stderr),
            )
        except InputError as error:
            fault = str(error)
    if fault is not None:
        _fail(fault)
    as_data = {"rows": [asdict(row) for row in rows]}
    click.echo(to_json(as_data) if as_json else table(rows))


@main.command()
@click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--pack",
    metavar="NPZ",
    type=click.Path(path_type=Path),
    required=True,
    help="The reference pack of the conversion: photos, and what the full model draws.",
)
@_ENVIRONMENT
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
def arm64(files: tuple[Path, ...], pack: Path, environment: Path, as_json: bool) -> None:
    """Run .tflite FILES on a Cortex-A76's kernels, under QEMU.

    Gives the picture's PSNR there and the instructions of one inference, and no time. The ratio is
    to the first file. A minute or more for each file.
    """
    fault, exit_code = "", 2
    with quiet(verbose=False) as stderr:
        from bokeh_bench.devices.arm64.measure import measure, table
        from bokeh_convert.report import to_json
        from bokeh_runtime.tflite.file import read_tflite
        from bokeh_runtime.tflite.reference_pack import load_reference

        try:
            reference = load_reference(pack)
            for file in files:
                read_tflite(file)
            rows = measure(files, reference, ArmRunner(environment), _teller(stderr))
        except InputError as error:
            fault = str(error)
        except MissingEnvironmentError as error:
            fault, exit_code = str(error), 3
    if fault:
        _fail(fault, exit_code)
    click.echo(to_json({"rows": [asdict(row) for row in rows]}) if as_json else table(rows))


@main.command()
@click.option(
    "--model",
    "models",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A .tflite file; several may be given. Without it, the shipped model.",
)
@click.option(
    "--photos",
    type=click.Path(path_type=Path),
    default=Path("benchmarks/photos"),
    show_default=True,
    help="Folder of large photos.",
)
@click.option("--runs", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the tables.")
def render(models: tuple[Path, ...], photos: Path, runs: int, as_json: bool) -> None:
    """Time the stages of whole photos, one of them scaled up to 50 megapixels too.

    Ratios are to the inference alone in the same process; each stage is timed on a busy machine
    too, with two processes that this program starts. Also what the results keep of the
    photo's sharpness, and how far, scaled down, they are from the network's picture.
    """
    fault = ""
    with quiet(verbose=False) as stderr, tempfile.TemporaryDirectory() as folder:
        from bokeh_bench.studies import rendering
        from bokeh_runtime.model import shipped_model

        say = _teller(stderr)
        paths = models or (shipped_model(),)
        try:
            if not photos.is_dir():
                raise InputError(f"{photos}: no such folder; give one with --photos")
            large = sorted(photos.glob("*.jpg"))
            if not large:
                raise InputError(f"{photos}: holds no JPEG photo; give another with --photos")
            enlarged = rendering.enlarge(large[0], Path(folder))
            rows = rendering.measure(paths, [*large, enlarged], Path(folder), runs, say)
            kept = rendering.measure_kept(paths, large)
        except InputError as error:
            fault = str(error)
    if fault:
        _fail(fault)
    if as_json:
        data = {"rows": [asdict(row) for row in rows], "kept": [asdict(row) for row in kept]}
        click.echo(json.dumps(data, indent=1))
    else:
        tables = (rendering.table(rows), rendering.load_table(rows), rendering.kept_table(kept))
        click.echo("\n\n".join(tables))


@main.command()
@click.argument("pairs", type=click.Path(path_type=Path))
def join(pairs: Path) -> None:
    """Compare ways of joining on PAIRS of sharp photos and targets, an ideal network between."""
    from bokeh_bench.studies import detail_fusion

    try:
        click.echo(detail_fusion.table(detail_fusion.compare(pairs)))
    except InputError as error:
        _fail(str(error))


@main.command()
@click.argument("model", required=False, type=click.Path(path_type=Path))
@click.option("--size", type=Size(), default=f"{DEMO_SIZE[0]}x{DEMO_SIZE[1]}", show_default=True)
def gpu(model: Path | None, size: tuple[int, int]) -> None:
    """Draw with every scheme on the GPU and the CPU; say which is nearer to the full model."""
    fault, exit_code = "", 2
    with quiet(verbose=False) as stderr, tempfile.TemporaryDirectory() as folder:
        from bokeh_bench.studies.gpu import measure, table

        try:
            rows = measure(model or demo_model(), size, Path(folder), _teller(stderr))
        except InputError as error:
            fault = str(error)
        except HardwareError as error:
            fault, exit_code = str(error), 3
    if fault:
        _fail(fault, exit_code)
    click.echo(table(rows))


@main.command()
@click.argument("model", required=False, type=click.Path(path_type=Path))
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--turns", type=click.IntRange(min=10), default=60, show_default=True)
@click.option("--rounds", type=click.IntRange(min=5), default=7, show_default=True)
def agreement(model: Path | None, threads: int, turns: int, rounds: int) -> None:
    """Hold bokeh-bench's latency against a bare loop's and LiteRT's own benchmark's."""
    fault = ""
    with quiet(verbose=False) as stderr:
        from bokeh_bench.studies.agreement import measure, table
        from bokeh_runtime.model import shipped_model

        try:
            found = measure(model or shipped_model(), threads, turns, rounds, _teller(stderr))
        except InputError as error:
            fault = str(error)
    if fault:
        _fail(fault)
    click.echo(table(found))


@main.command()
@_ENVIRONMENT
def arm64_costs(environment: Path) -> None:
    """Count the instructions of convolutions; hold the plan search's cost model against them."""
    fault = ""
    runner = _arm_runner(environment)
    with quiet(verbose=False) as stderr:
        from bokeh_bench.devices.arm64.costs import measure_costs, table

        try:
            rows = measure_costs(runner, _teller(stderr))
        except RuntimeError as error:
            fault = str(error)
    if fault:
        _fail(fault)
    click.echo(table(rows))


def _arm_runner(environment: Path) -> ArmRunner:
    try:
        return ArmRunner(environment)
    except MissingEnvironmentError as error:
        _fail(str(error), exit_code=3)


def _teller(stderr: TextIO) -> Callable[[str], None]:
    """Returns what says a step on a terminal, and nothing in a pipe.

    It ends the work if a Ctrl-C was lost.
    """
    check: Callable[[], None] = click.get_current_context().obj

    def say(what: str) -> None:
        check()
        if stderr.isatty():
            click.echo(what, file=stderr)

    return say


def _fail(fault: str, exit_code: int = 2) -> NoReturn:
    click.echo(f"bokeh_bench: {fault}", err=True)
    sys.exit(exit_code)


def _untrained(width: float, folder: Path) -> Path:
    from bokeh_convert.pynet.network import pynet

    path = folder / "untrained.keras"
    pynet(width=width).save(path)
    return path


if __name__ == "__main__":
    main()
