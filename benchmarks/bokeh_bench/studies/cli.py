"""The command `bokeh-bench study`: the studies behind the tables of the documentation."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from bokeh_bench.command_line import HELP_OPTIONS, PATH, verbose_option
from bokeh_bench.devices.arm64.runner import FOLDER
from bokeh_bench.studies.arm64_cli import arm64, arm64_costs
from bokeh_bench.studies.input_noise_cli import input_noise
from bokeh_bench.studies.npu_cli import npu
from bokeh_bench.studies.options import MODEL, PROFILES, SIZE, THREADS, runners
from bokeh_bench.studies.session import json_options, print_result, study_session
from bokeh_bench.studies.students_cli import students
from bokeh_bench.studies.web_cli import web
from bokeh_bench.workers.conversion import METHODS
from bokeh_convert.api import demo_model
from bokeh_convert.train.distill_options import WIDTH
from bokeh_runtime.errors import InputError
from bokeh_runtime.finite_range import FiniteRange


@click.group(context_settings=HELP_OPTIONS)
def study() -> None:
    """Run one of the studies behind the documentation's tables.

    Each prints a Markdown table. Exit codes: 0 success; 2 wrong input; 3 hardware is missing.
    """


@study.command("conversion")
@MODEL
@SIZE
@click.option(
    "--untrained",
    metavar="WIDTH",
    type=WIDTH,
    help="Convert an RGBD PyNET of this width with random weights instead of MODEL. Its time and "
    "memory are meaningful; its outputs are not.",
)
@click.option(
    "--representative-dataset",
    "photos",
    metavar="DIR",
    type=PATH,
    help="Folder of photos for calibration and verification, as for bokeh-convert.",
)
@click.option(
    "--photos",
    "held_out",
    metavar="DIR",
    type=PATH,
    help="Measure the quality of every file on these photos, which neither calibration nor search "
    "has seen: a folder of photos, with depth maps for a model that takes them, or the held-out "
    "part of a data set. Default: the conversion's verification photos.",
)
@click.option(
    "--arm64",
    is_flag=True,
    help=f"Also count instructions on a phone's CPU kernels. Needs {FOLDER} (`make arm64` in a "
    "checkout of bokeh-tflite) and takes a minute for each file and CPU.",
)
@PROFILES
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(METHODS),
    help="Convert with this tool and scheme only; may be repeated.",
)
@click.option(
    "--runs",
    type=click.IntRange(min=0),
    default=15,
    show_default=True,
    help="Number of timed runs of each file; 0 leaves the latency out.",
)
@click.option(
    "--interpreter-python",
    metavar="FILE",
    type=PATH,
    help="Python of an environment with another TensorFlow: also measure the latency in its "
    "interpreter.",
)
@THREADS
@json_options
@verbose_option
def conversion(
    model: Path | None,
    untrained: float | None,
    photos: Path | None,
    held_out: Path | None,
    arm64: bool,
    profiles: tuple[str, ...],
    only: tuple[str, ...],
    verbose: bool,
    as_json: bool,
    size: tuple[int, int],
    runs: int,
    interpreter_python: Path | None,
    threads: int,
) -> None:
    """Convert the trained MODEL with bokeh-convert and with other tools, and compare the files.

    Without MODEL, the demo model is converted.
    """
    with study_session(verbose) as progress, tempfile.TemporaryDirectory() as folder:
        from bokeh_bench.studies.conversion import BASELINE, measure, table
        from bokeh_bench.studies.converters import Settings, save_untrained

        if profiles and not arm64:
            raise InputError("--profile needs --arm64, which counts instructions")
        if model is not None and untrained is not None:
            raise InputError(f"{model}: not converted with --untrained; give one of the two")
        if interpreter_python is not None and not runs:
            raise InputError("--interpreter-python needs timed runs; omit it, or --runs 0")
        arm_runners = runners(FOLDER, profiles) if arm64 else ()
        # Latency is relative to the baseline, which also computes the reference outputs.
        methods = METHODS if not only else dict.fromkeys((BASELINE, *only))
        path = model or demo_model()
        if untrained is not None:
            path = save_untrained(untrained, Path(folder))
        rows = measure(
            path,
            Settings(size, photos, threads, interpreter_python, held_out),
            Path(folder),
            methods=tuple(methods),
            runs=runs,
            runners=arm_runners,
            progress=progress,
        )
    print_result(as_json, table(rows), [path], rows=rows)


@study.command("crop")
@MODEL
@THREADS
@click.option(
    "--picture",
    metavar="FILE",
    type=PATH,
    default=Path("crop.png"),
    show_default=True,
    help="The picture to write, .png or .jpg.",
)
@click.option(
    "--contrast",
    type=FiniteRange(min=1),
    default=3.0,
    show_default=True,
    help="Strengthen the contrast of all crops by this factor.",
)
@click.option("--photo", metavar="FILE", type=PATH, help="Default: a bundled photo.")
@json_options
def crop(
    model: Path | None,
    threads: int,
    picture: Path,
    contrast: float,
    photo: Path | None,
    as_json: bool,
) -> None:
    """Render a photo with 12 megapixels and show a crop of its smoothest part at full size.

    Writes the crops of the full model, float16, int8 and TFLiteConverter's int8 side by side.
    MODEL takes RGB without depth; without it, the demo model is converted.
    """
    with study_session() as progress, tempfile.TemporaryDirectory() as folder:
        from bokeh_bench.studies.crop import DEFAULT_PHOTO, render_crops, save_crops, table

        path = model or demo_model()
        source = photo or DEFAULT_PHOTO
        rows, crops = render_crops(path, source, Path(folder), threads, progress)
        save_crops(picture, crops, contrast)
    print_result(as_json, table(rows), [path], rows=rows)


@study.command("render")
@click.option(
    "--model",
    "models",
    metavar="FILE",
    multiple=True,
    type=PATH,
    help="A .tflite file; may be repeated. Default: the shipped model.",
)
@click.option(
    "--photos",
    metavar="DIR",
    type=PATH,
    default=Path("benchmarks/photos"),
    show_default=True,
    help="Folder of large JPEG photos. The default is in a checkout of bokeh-tflite.",
)
@click.option(
    "--runs",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Number of timed runs of each photo.",
)
@json_options
def render(models: tuple[Path, ...], photos: Path, runs: int, as_json: bool) -> None:
    """Time the stages of rendering photos, one of them also scaled up to 50 megapixels.

    Overheads are relative to the inference alone in the same process. A second table gives the
    times of the stages on a busy machine, with two background processes. A third one gives how much
    of the photo's sharpness the results keep, and their PSNR, scaled down, vs the network's output.
    """
    with study_session() as progress, tempfile.TemporaryDirectory() as folder:
        from bokeh_bench.studies import rendering
        from bokeh_runtime.shipped_models import shipped_model

        paths = models or (shipped_model(),)
        large = rendering.large_photos(photos)
        enlarged = rendering.enlarge(large[0], Path(folder))
        rows = rendering.measure(paths, [*large, enlarged], Path(folder), runs, progress)
        kept = rendering.measure_kept(paths, large)
    tables = (rendering.table(rows), rendering.load_table(rows), rendering.kept_table(kept))
    print_result(as_json, "\n\n".join(tables), paths, rows=rows, kept=kept)


@study.command("detail-fusion")
@click.argument("pairs", type=PATH)
@json_options
def detail_fusion(pairs: Path, as_json: bool) -> None:
    """Compare methods of full-resolution detail fusion on PAIRS, with an ideal network.

    PAIRS is a folder of NAME_sharp.jpg, NAME_bokeh.jpg (the target) and NAME_mask.png (the
    subject).
    """
    with study_session():
        from bokeh_bench.studies.detail_fusion import compare, table

        rows = compare(pairs)
    print_result(as_json, table(rows), [], rows=rows)


@study.command("gpu")
@MODEL
@SIZE
@json_options
def gpu(model: Path | None, size: tuple[int, int], as_json: bool) -> None:
    """Convert the trained MODEL with every scheme and compare the GPU's and the CPU's outputs.

    Both are also compared with the full model's. Without MODEL, the demo model is converted.
    """
    with study_session() as progress, tempfile.TemporaryDirectory() as folder:
        from bokeh_bench.studies.gpu import measure, table

        path = model or demo_model()
        rows = measure(path, size, Path(folder), progress)
    print_result(as_json, table(rows), [path], rows=rows)


@study.command("agreement")
@MODEL
@THREADS
@click.option(
    "--turns",
    "runs",
    type=click.IntRange(min=10),
    default=60,
    show_default=True,
    help="Number of interleaved runs with a bare loop.",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=5),
    default=7,
    show_default=True,
    help="Number of processes of each, with LiteRT's benchmark.",
)
@json_options
def agreement(model: Path | None, threads: int, runs: int, rounds: int, as_json: bool) -> None:
    """Compare bokeh-bench's latency with that of a bare loop and of LiteRT's own benchmark.

    MODEL is a .tflite file; without it, the shipped model is measured.
    """
    with study_session() as progress:
        from bokeh_bench.studies.agreement import measure, table
        from bokeh_runtime.shipped_models import shipped_model

        path = model or shipped_model()
        found = measure(path, threads, runs, rounds, progress)
    print_result(as_json, table(found), [path], rows=[found])


for command in (arm64, arm64_costs, input_noise, npu, students, web):
    study.add_command(command)
