"""How far the last bits of a float input change the output of a quantized model.

They decide to which integer an activation is rounded, and the layers after it amplify that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bokeh_bench.report.tables import markdown_table
from bokeh_runtime import InputError, TfliteModel
from bokeh_runtime.imaging.photo import FloatImage, to_unit
from bokeh_runtime.metrics.psnr import psnr, psnr_text
from bokeh_runtime.tflite.file import read_tflite
from bokeh_runtime.tflite.metadata import metadata_of
from bokeh_runtime.tflite.reference_pack import find_reference


@dataclass(frozen=True)
class NoiseRow:
    """A photo through a model, with and without noise in the model's input.

    Attributes:
        model: File name.
        photo: Name of the photo.
        median_db, lowest_db, highest_db: Over the seeds, the PSNR of the output with noise to that
            without, in dB; infinity if they are identical.
        largest_difference: Of these, in 1/255.
        to_full_db: PSNR to the full model without noise, in dB.
        lowest_to_full_db, highest_to_full_db: The same with noise.
    """

    model: str
    photo: str
    median_db: float | None
    lowest_db: float | None
    highest_db: float | None
    largest_difference: float
    to_full_db: float
    lowest_to_full_db: float
    highest_to_full_db: float


def measure(
    models: Sequence[Path], noise: float, seeds: int, progress: Callable[[str], None]
) -> list[NoiseRow]:
    """Runs models on the photos of their packs, with and without noise, on one CPU thread.

    Args:
        models: .tflite files with a reference pack beside them.
        noise: Uniform noise from -noise to +noise is added to the input, which is in 0..1.
        seeds: How often each photo is run with other noise.
        progress: Called with a description of each step.

    Raises:
        InputError: If a file cannot be read or has no pack.
    """
    rows = []
    for path in models:
        file = read_tflite(path)
        pack = find_reference(path, metadata_of(file))
        if pack is None:
            raise InputError(f"{path}: has no reference pack beside it; convert the model again")
        model = TfliteModel(file.content, threads=1)
        for name, photo, full in zip(pack.names, pack.inputs, pack.outputs, strict=True):
            progress(f"running {path.name} on {name}")
            clean = np.clip(model.run(to_unit(photo)), 0, 1)
            noisy = [_with_noise(model, photo, noise, seed) for seed in range(seeds)]
            to_clean = [psnr(output, clean, border_px=0) for output in noisy]
            to_full = [psnr(output, full, border_px=0) for output in noisy]
            rows.append(
                NoiseRow(
                    path.name,
                    name,
                    float(np.median(to_clean)),
                    min(to_clean),
                    max(to_clean),
                    255 * max(float(np.abs(output - clean).max()) for output in noisy),
                    psnr(clean, full, border_px=0),
                    min(to_full),
                    max(to_full),
                )
            )
    return rows


def _with_noise(
    model: TfliteModel, photo: np.typing.NDArray[np.uint8], noise: float, seed: int
) -> FloatImage:
    added = np.random.default_rng(seed).uniform(-noise, noise, photo.shape)
    return np.clip(model.run((to_unit(photo) + added).astype(np.float32)), 0, 1)


def table(rows: Sequence[NoiseRow]) -> str:
    """Returns a Markdown table."""
    return markdown_table(
        (
            *("model", "photo", "PSNR to the output without noise", "lowest", "highest"),
            *("largest difference, of 255", "PSNR to the full model without noise"),
            *("with noise: lowest", "highest"),
        ),
        [
            (
                *(row.model, row.photo),
                *map(psnr_text, (row.median_db, row.lowest_db, row.highest_db)),
                f"{row.largest_difference:.1f}",
                *map(psnr_text, (row.to_full_db, row.lowest_to_full_db, row.highest_to_full_db)),
            )
            for row in rows
        ],
        text_columns=2,
    )
