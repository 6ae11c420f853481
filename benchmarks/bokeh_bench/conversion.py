"""Our schemes beside plain `tf.lite.TFLiteConverter` calls, in one run, as a Markdown table.

    python -m bokeh_bench.conversion                     the shipped model
    python -m bokeh_bench.conversion model.h5 --size 256x384

Every file is held against the same full model on the same photos, which calibrated none of them.
Latency is a ratio to the float32 file on this machine's CPU, the files taking turns run by run.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from bokeh_convert.api import DEMO_SIZE, demo_model
from bokeh_convert.cli import Size
from bokeh_convert.lower import lower
from bokeh_convert.quantize import SCHEMES, quantize
from bokeh_convert.quiet import quiet
from bokeh_convert.read import read_model
from bokeh_convert.read.float_model import SizedModel
from bokeh_convert.report import to_json
from bokeh_convert.samples import Sample, draw_samples, read_sample, to_input
from bokeh_convert.verify import draw_reference, verify
from bokeh_runtime.errors import InputError
from bokeh_runtime.interpreter import TfliteModel
from bokeh_runtime.photo import FloatImage

Photos = Callable[[], Iterator[FloatImage]]


@dataclass(frozen=True)
class Row:
    """One file.

    Attributes:
        made_by: The tool and its setting.
        convert_seconds: From the trained model in memory to the file.
        psnr_db_mean, psnr_db_worst, ssim_mean: Against the full model, no crop, peak 1.0.
        latency_ratio: Median run time over that of "bokeh-convert float32".
    """

    made_by: str
    size_bytes: int
    convert_seconds: float
    psnr_db_mean: float
    psnr_db_worst: float
    ssim_mean: float
    latency_ratio: float


def ours(sized: SizedModel, scheme: str, photos: Photos, threads: int) -> bytes:
    """Converts as `bokeh-convert` does."""
    return quantize(lower(sized), SCHEMES[scheme], photos, threads=threads)


def plain(sized: SizedModel, kind: str, photos: Photos) -> bytes:
    """Converts as TensorFlow's guides say: `kind` is "float16", "dynamic" or "int8".

    The int8 file may fall back to float operators, as the guides' default does.
    """
    frozen = convert_variables_to_constants_v2(sized.concrete)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if kind == "int8":
        converter.representative_dataset = lambda: ([photo[None]] for photo in photos())
    return bytes(converter.convert())


def measure(
    path: Path, size: tuple[int, int], *, runs: int, threads: int, say: Callable[[str], None]
) -> list[Row]:
    """Converts a model in every way and measures the files.

    Args:
        path: The trained model.
        size: Height and width of the input, in pixels.
        runs: Timed runs of each file.
        threads: CPU threads.
        say: Told what is being done.

    Returns:
        One row for each file.
    """
    model = read_model(path)
    drawn = draw_samples(None, channels=model.channels, count=100, seed=0)
    sized = model.at(*size)
    reference = draw_reference(sized, drawn.verification, lambda: None)

    def photos() -> Iterator[FloatImage]:
        return _inputs(drawn.calibration, sized)

    ways: dict[str, Callable[[], bytes]] = {}
    for scheme in SCHEMES:
        ways[f"bokeh-convert {scheme}"] = lambda s=scheme: ours(sized, s, photos, threads)  # type: ignore[misc]
    for kind in ("float16", "dynamic", "int8"):
        ways[f"TFLiteConverter {kind}"] = lambda k=kind: plain(sized, k, photos)  # type: ignore[misc]
    files, seconds = {}, {}
    for name, make in ways.items():
        say(name)
        began = time.monotonic()
        files[name] = make()
        seconds[name] = time.monotonic() - began
    say("latency")
    medians = interleaved_medians(files, to_input(reference.inputs[0]), runs, threads)
    baseline = medians["bokeh-convert float32"]
    rows = []
    for name, content in files.items():
        say(f"fidelity of {name}")
        fidelity, _ = verify(content, reference, threads=threads, on_photo=lambda: None)
        rows.append(
            Row(
                name,
                len(content),
                round(seconds[name], 1),
                round(fidelity.psnr_db_mean, 1),
                round(fidelity.psnr_db_worst, 1),
                round(fidelity.ssim_mean, 4),
                round(medians[name] / baseline, 2),
            )
        )
    return rows


def interleaved_medians(
    files: dict[str, bytes], photo: FloatImage, runs: int, threads: int
) -> dict[str, float]:
    """Returns the median run time of each file in seconds; they take turns, after one warm-up."""
    models = {name: TfliteModel(content, threads=threads) for name, content in files.items()}
    for model in models.values():
        model.run(photo)
    times: dict[str, list[float]] = {name: [] for name in files}
    for _ in range(runs):
        for name, model in models.items():
            began = time.perf_counter()
            model.run(photo)
            times[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in times.items()}


def table(rows: Sequence[Row]) -> str:
    """Formats the rows as a Markdown table."""
    lines = [
        "| file | size | PSNR mean | worst | SSIM | latency / float32 | convert |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {row.made_by} | {row.size_bytes / 1e6:.2f} MB | {row.psnr_db_mean:.1f} dB "
        f"| {row.psnr_db_worst:.1f} dB | {row.ssim_mean:.4f} | {row.latency_ratio:.2f} "
        f"| {row.convert_seconds:.0f} s |"
        for row in rows
    ]
    return "\n".join(lines)


def _inputs(samples: Sequence[Sample], sized: SizedModel) -> Iterator[FloatImage]:
    for sample in samples:
        yield to_input(read_sample(sample, sized.height, sized.width, sized.model.channels))


@click.command()
@click.argument("model", required=False, type=click.Path(path_type=Path))
@click.option("--size", type=Size(), default=f"{DEMO_SIZE[0]}x{DEMO_SIZE[1]}", show_default=True)
@click.option("--runs", type=click.IntRange(min=1), default=15, show_default=True)
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
@click.option("-v", "--verbose", is_flag=True)
def main(model: Path | None, verbose: bool, as_json: bool, **options: Any) -> None:
    """Convert MODEL (the shipped one unless given) in every way and print what came out."""
    fault = None
    rows: list[Row] = []
    with quiet(verbose) as stderr:

        def say(what: str) -> None:
            if stderr.isatty():
                click.echo(what, file=stderr)

        try:
            rows = measure(model or demo_model(), say=say, **options)
        except InputError as error:
            fault = str(error)
    if fault is not None:
        click.echo(f"bokeh_bench.conversion: {fault}", err=True)
        sys.exit(2)
    as_data = {"rows": [asdict(row) for row in rows]}
    click.echo(to_json(as_data) if as_json else table(rows))


if __name__ == "__main__":
    main()
