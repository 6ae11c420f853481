"""A crop of a rendered photo, by the full model and by converted files, side by side.

The photo is rendered with 12 megapixels, as a phone takes it, and the crop is shown at full size:
there, what quantization adds to a blurred background is magnified by the network's small output.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from bokeh_bench.report.tables import markdown_table
from bokeh_bench.studies.converters import Settings, convert_in_process
from bokeh_bench.workers.conversion import BOKEH_CONVERT, TFLITE_CONVERTER
from bokeh_convert.data.calibration_data import BUNDLED
from bokeh_runtime.imaging.luminance import luminance
from bokeh_runtime.imaging.photo import FloatImage, Pixels, read_photo, save_photo, to_unit
from bokeh_runtime.model import BokehModel

DEFAULT_PHOTO = BUNDLED / "verification" / "astronaut.jpg"
"""One that calibration does not use."""
PANELS = {
    "full model": f"{BOKEH_CONVERT} float32",
    "float16": f"{BOKEH_CONVERT} float16",
    "int8": f"{BOKEH_CONVERT} int8",
    "TFLiteConverter int8": f"{TFLITE_CONVERTER} int8",
}
"""Headings, and what converts the file. The float32 file computes what the full model does."""
PHOTO_PIXELS = 12e6
CROP = (280, 210)
"""Height and width in pixels."""
_DARKEST, _BRIGHTEST = 0.25, 0.75
_GAP_PX, _HEADING_PX = 6, 26


@dataclass(frozen=True)
class CropRow:
    """A panel.

    Attributes:
        heading: What rendered it.
        made_by: Tool and scheme of the file.
        left, top: Place of the crop in the rendered photo, in pixels.
        difference: RMS difference of the luminance from the full model's in the crop, in 1/255.
    """

    heading: str
    made_by: str
    left: int
    top: int
    difference: float


def render_crops(
    model: Path, photo: Path, folder: Path, threads: int, progress: Callable[[str], None]
) -> tuple[list[CropRow], list[FloatImage]]:
    """Converts a model, renders a photo with each file, and crops where it is smoothest.

    That is decided on the full model's result.

    Args:
        model: The trained model, of RGB.
        photo: It is scaled to 12 megapixels.
        folder: Folder for the files.
        threads: CPU threads.
        progress: Called with a description of each step.

    Returns:
        A row for each of `PANELS`, and the crops, float [height, width, 3] in [0, 1].

    Raises:
        InputError: If the model cannot be converted, takes depth, or the photo cannot be read.
    """
    large = at_full_size(read_photo(photo).pixels)
    settings = Settings((256, 384), None, threads)
    crops: list[FloatImage] = []
    place = None
    for heading, method in PANELS.items():
        progress(heading)
        _, figures = convert_in_process(model, method, settings, folder)
        with BokehModel.open(figures["file"], "cpu", threads=threads) as opened:
            rendered = to_unit(opened.render(large).pixels)
        place = place or smoothest(rendered)
        top, left = place
        crops.append(rendered[top : top + CROP[0], left : left + CROP[1]])
    assert place is not None
    rows = [
        CropRow(heading, method, place[1], place[0], _difference(crop, crops[0]))
        for (heading, method), crop in zip(PANELS.items(), crops, strict=True)
    ]
    return rows, crops


def at_full_size(pixels: Pixels) -> Pixels:
    """Returns a photo scaled to `PHOTO_PIXELS`, with as many bits as it has."""
    factor = (PHOTO_PIXELS / (pixels.shape[0] * pixels.shape[1])) ** 0.5
    large = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    return np.asarray(large, pixels.dtype)


def smoothest(image: FloatImage) -> tuple[int, int]:
    """Returns the top and left of the crop with the smallest variance of luminance.

    Crops that are nearly black or white on average do not count, unless all are.

    Args:
        image: float [height, width, 3] in [0, 1], at least as large as `CROP`.
    """
    levels = luminance(image)[..., 0].astype(np.float64)
    mean, variance = _mean_and_variance(levels)
    mid = (mean >= _DARKEST) & (mean <= _BRIGHTEST)
    found = np.where(mid, variance, variance + 1)
    top, left = np.unravel_index(int(found.argmin()), found.shape)
    return int(top), int(left)


def save_crops(path: Path, crops: Sequence[FloatImage], contrast: float) -> None:
    """Writes the crops side by side, with their headings.

    Args:
        path: A .png or .jpg file.
        crops: One for each of `PANELS`, float [height, width, 3] in [0, 1].
        contrast: Factor of the contrast around the mean colour of the first crop.

    Raises:
        InputError: If the file cannot be written.
    """
    middle = crops[0].mean(axis=(0, 1))
    panels = []
    for heading, crop in zip(PANELS, crops, strict=True):
        strong = np.clip(middle + (crop - middle) * contrast, 0, 1)
        panel = np.vstack([_heading(heading, crop.shape[1]), strong])
        panels.append(np.pad(panel, ((0, 0), (0, _GAP_PX), (0, 0)), constant_values=1.0))
    save_photo(path, np.hstack(panels)[:, :-_GAP_PX].astype(np.float32))


def table(rows: Sequence[CropRow]) -> str:
    """Returns a Markdown table, and a sentence on where the crop is."""
    cells = [(row.heading, row.made_by, f"{row.difference:.2f}") for row in rows]
    made = markdown_table(("panel", "file", "RMS difference"), cells, text_columns=2)
    return f"{made}\n\nThe crop begins at x = {rows[0].left}, y = {rows[0].top}."


def _mean_and_variance(
    levels: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Returns those of each crop that lies in the image, by its top and left."""
    height, width = CROP
    inside = (slice(0, levels.shape[0] - height + 1), slice(0, levels.shape[1] - width + 1))
    mean, square = (
        np.asarray(cv2.blur(values, (width, height), anchor=(0, 0)), np.float64)[inside]
        for values in (levels, np.square(levels))
    )
    return mean, square - np.square(mean)


def _difference(crop: FloatImage, reference: FloatImage) -> float:
    error = (luminance(crop) - luminance(reference)) * 255
    return round(float(np.sqrt(np.mean(np.square(error)))), 2)


def _heading(text: str, width: int) -> FloatImage:
    strip = np.full((_HEADING_PX, width, 3), 255, np.uint8)
    cv2.putText(strip, text, (2, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return (strip / np.float32(255)).astype(np.float32)
