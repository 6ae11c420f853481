"""How near the join comes to the truth, where the truth is known.

A pair of sharp photo and target stands for the full size; scaled down they stand for what an ideal
network sees and draws. What is joined from those two is compared with the target.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import cv2
import numpy as np

from bokeh_bench.report.tables import markdown_table
from bokeh_runtime import InputError, read_photo
from bokeh_runtime.imaging.detail_fusion import fuse_detail
from bokeh_runtime.imaging.photo import FloatImage, Pixels, as_float, to_unit
from bokeh_runtime.imaging.resample import scale
from bokeh_runtime.metrics.psnr import psnr, psnr_text, summarize_psnr

FACTOR = 4
_EDGE = 9  # px; the neighbourhood of a subject's edge


@dataclass(frozen=True)
class JoiningRow:
    """A way of joining; means over the pairs, PSNR in dB from the target at full size.

    A pair whose two pictures are identical is left out of a mean; infinity if all are.
    """

    way: str
    whole_db: float
    subject_db: float
    edge_db: float
    background_db: float
    scaled_down_db: float


def compare(folder: Path) -> list[JoiningRow]:
    """Compares ways of joining on pairs NAME_sharp, NAME_bokeh (JPEG) and NAME_mask (PNG).

    Raises:
        InputError: If the folder holds no such pair.
    """
    names = sorted(path.name[: -len("_mask.png")] for path in folder.glob("*_mask.png"))
    if not names:
        raise InputError(f"{folder}: holds no NAME_sharp.jpg, NAME_bokeh.jpg, NAME_mask.png")
    found: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    for name in names:
        sharp, target = (
            _cropped(read_photo(folder / f"{name}_{kind}.jpg").pixels)
            for kind in ("sharp", "bokeh")
        )
        mask = _cropped(read_photo(folder / f"{name}_mask.png").pixels)[..., 0] > 127
        rows, columns = (n // FACTOR for n in sharp.shape[:2])
        seen, drawn = scale(sharp, rows, columns), scale(target, rows, columns)
        for way, function in WAYS.items():
            result = function(sharp, drawn, seen)
            found[way].append(_score(result, target, mask, drawn))
    return [
        JoiningRow(way, *(summarize_psnr(of).mean for of in zip(*scores, strict=True)))
        for way, scores in found.items()
    ]


def table(rows: Sequence[JoiningRow]) -> str:
    """Returns a Markdown table."""
    return markdown_table(
        ("way", "whole", "subject", "edge", "background", "scaled down"),
        [(row.way, *map(psnr_text, astuple(row)[1:])) for row in rows],
    )


def _scaled_up(sharp: Pixels, drawn: FloatImage, _: FloatImage) -> Pixels:
    large = cv2.resize(drawn, sharp.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    return _eight_bits(as_float(large))


def _guided(sharp: Pixels, drawn: FloatImage, seen: FloatImage) -> Pixels:
    """The fast guided filter (He and Sun, 2015), radius 2, the photo being the guide."""

    def mean(image: FloatImage) -> FloatImage:
        return as_float(cv2.blur(image, (5, 5), borderType=cv2.BORDER_REFLECT))

    seen_mean, drawn_mean = mean(seen), mean(drawn)
    slope = (mean(seen * drawn) - seen_mean * drawn_mean) / (
        mean(seen * seen) - seen_mean**2 + np.float32(1e-4)
    )
    offset = mean(drawn_mean - slope * seen_mean)
    slope_large, offset_large = (
        as_float(cv2.resize(plane, sharp.shape[1::-1])) for plane in (mean(slope), offset)
    )
    return _eight_bits(slope_large * to_unit(sharp) + offset_large)


WAYS: dict[str, Callable[[Pixels, FloatImage, FloatImage], Pixels]] = {
    "the photo": lambda sharp, drawn, seen: sharp,
    "scaled up": _scaled_up,
    "guided filter": _guided,
    "bokeh-render": fuse_detail,
}


def _score(result: Pixels, target: Pixels, mask: np.ndarray, drawn: FloatImage) -> list[float]:
    kernel = np.ones((2 * _EDGE + 1, 2 * _EDGE + 1), np.uint8)
    inside = cv2.erode(mask.astype(np.uint8), kernel) > 0
    outside = cv2.dilate(mask.astype(np.uint8), kernel) == 0
    image, truth = to_unit(result), to_unit(target)
    return [
        psnr(image[None, where], truth[None, where], border_px=0)
        for where in (np.ones_like(inside), inside, ~inside & ~outside, outside)
    ] + [psnr(scale(result, *drawn.shape[:2]), drawn, border_px=0)]


def _cropped(pixels: Pixels) -> Pixels:
    rows, columns = (n // FACTOR * FACTOR for n in pixels.shape[:2])
    return np.ascontiguousarray(pixels[:rows, :columns])


def _eight_bits(image: FloatImage) -> Pixels:
    return np.asarray(np.rint(np.clip(image, 0, 1) * 255), np.uint8)
