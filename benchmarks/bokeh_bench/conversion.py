"""Our schemes beside plain `tf.lite.TFLiteConverter` calls, in one run.

Every file is held against the same full model on the same photos, which calibrated none of them.
Latency is a ratio to the float32 file on this machine's CPU, the files taking turns run by run.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from bokeh_convert.lower import frozen_converter, lower
from bokeh_convert.quantize import SCHEMES, quantize
from bokeh_convert.read import read_model
from bokeh_convert.read.float_model import SizedModel
from bokeh_convert.samples import Sample, draw_samples, read_sample, to_input
from bokeh_convert.verify import draw_reference, verify
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
    converter = frozen_converter(sized)
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
