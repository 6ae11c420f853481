"""Compares methods of full-resolution detail fusion where the correct result is known.

A pair of sharp photo and target is taken as the full resolution. Scaled down, the two stand for the
input and the output of an ideal network. The fusion result is compared with the full-size target.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from bokeh_bench.report.tables import markdown_table
from bokeh_runtime import InputError, read_photo
from bokeh_runtime.imaging.detail_fusion import fuse_detail
from bokeh_runtime.imaging.photo import FloatImage, Pixels, as_float, to_unit
from bokeh_runtime.imaging.resample import scale
from bokeh_runtime.metrics.psnr import psnr, psnr_text, summarize_psnr

_Mask = npt.NDArray[np.bool_]
FACTOR = 4
_EDGE = 9  # px; half width of the band around a subject's edge


@dataclass(frozen=True)
class FusionRow:
    """One method of fusion; mean PSNR over the pairs in dB, no border crop, peak 1.0.

    Pairs with identical images are left out of a mean; it is infinity if all are identical.

    Attributes:
        method: Name of the method.
        whole_db: Result vs target, over the whole image.
        subject_db, edge_db, background_db: The same within the subject, near its edge and outside.
        scaled_down_db: Result, scaled down, vs the network's output.
    """

    method: str
    whole_db: float
    subject_db: float
    edge_db: float
    background_db: float
    scaled_down_db: float


def compare(folder: Path) -> list[FusionRow]:
    """Compares methods of fusion on pairs NAME_sharp, NAME_bokeh (JPEG) and NAME_mask (PNG).

    Raises:
        InputError: If the folder holds no such pair, or of a pair a file cannot be read, the sizes
            differ or the mask leaves nothing to compare.
    """
    names = sorted(path.name[: -len("_mask.png")] for path in folder.glob("*_mask.png"))
    if not names:
        raise InputError(f"{folder}: holds no NAME_sharp.jpg, NAME_bokeh.jpg, NAME_mask.png")
    found: dict[str, list[list[float]]] = {method: [] for method in METHODS}
    for name in names:
        sharp, target, regions = _read_pair(folder, name)
        rows, columns = (n // FACTOR for n in sharp.shape[:2])
        network_input, network_output = scale(sharp, rows, columns), scale(target, rows, columns)
        for method, function in METHODS.items():
            result = function(sharp, network_output, network_input)
            found[method].append(_score(result, target, regions, network_output))
    return [
        FusionRow(method, *(summarize_psnr(of).mean for of in zip(*scores, strict=True)))
        for method, scores in found.items()
    ]


def table(rows: Sequence[FusionRow]) -> str:
    """Returns a Markdown table."""
    return markdown_table(
        ("method", "whole image", "subject", "edge", "background", "scaled down"),
        [(row.method, *map(psnr_text, astuple(row)[1:])) for row in rows],
    )


def _scaled_up(sharp: Pixels, network_output: FloatImage, _: FloatImage) -> Pixels:
    large = cv2.resize(network_output, sharp.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    return _eight_bits(as_float(large))


def _guided(sharp: Pixels, network_output: FloatImage, network_input: FloatImage) -> Pixels:
    """The fast guided filter (He and Sun, 2015) with radius 2 and the photo as the guide."""

    def mean(image: FloatImage) -> FloatImage:
        return as_float(cv2.blur(image, (5, 5), borderType=cv2.BORDER_REFLECT))

    input_mean, output_mean = mean(network_input), mean(network_output)
    slope = (mean(network_input * network_output) - input_mean * output_mean) / (
        mean(network_input * network_input) - input_mean**2 + np.float32(1e-4)
    )
    offset = mean(output_mean - slope * input_mean)
    slope_large, offset_large = (
        as_float(cv2.resize(plane, sharp.shape[1::-1])) for plane in (mean(slope), offset)
    )
    return _eight_bits(slope_large * to_unit(sharp) + offset_large)


METHODS: dict[str, Callable[[Pixels, FloatImage, FloatImage], Pixels]] = {
    "photo unchanged": lambda sharp, network_output, network_input: sharp,
    "scaled up": _scaled_up,
    "guided filter": _guided,
    "bokeh-render": fuse_detail,
}


def _read_pair(folder: Path, name: str) -> tuple[Pixels, Pixels, Mapping[str, _Mask]]:
    """Returns the photo, the target and the parts of both that are compared, by their names."""
    paths = [folder / f"{name}_{kind}" for kind in ("sharp.jpg", "bokeh.jpg", "mask.png")]
    read = [read_photo(path).pixels for path in paths]
    sizes = [f"{pixels.shape[0]} x {pixels.shape[1]}" for pixels in read]
    for path, size in zip(paths, sizes, strict=True):
        if size != sizes[0]:
            raise InputError(
                f"{path}: is {size} px, {paths[0].name} is {sizes[0]}; scale them alike"
            )
    if min(read[0].shape[:2]) < FACTOR:
        raise InputError(f"{paths[0]}: is {sizes[0]} px; give at least {FACTOR} x {FACTOR}")
    sharp, target, mask = map(_cropped, read)
    subject = (to_unit(mask[..., 0]) > 0.5).astype(np.uint8)
    kernel = np.ones((2 * _EDGE + 1, 2 * _EDGE + 1), np.uint8)
    inside, outside = cv2.erode(subject, kernel) > 0, cv2.dilate(subject, kernel) == 0
    regions: dict[str, _Mask] = {
        "whole image": np.ones_like(inside),
        "subject": inside,
        "edge": ~inside & ~outside,
        "background": outside,
    }
    for part, region in regions.items():
        if not region.any():
            raise InputError(
                f"{paths[2]}: leaves nothing of the {part}; give a mask that is white on the "
                f"subject and black elsewhere, both wider than {2 * _EDGE} px"
            )
    return sharp, target, regions


def _score(
    result: Pixels, target: Pixels, regions: Mapping[str, _Mask], network_output: FloatImage
) -> list[float]:
    image, truth = to_unit(result), to_unit(target)
    return [
        psnr(image[None, region], truth[None, region], border_px=0) for region in regions.values()
    ] + [psnr(scale(result, *network_output.shape[:2]), network_output, border_px=0)]


def _cropped(pixels: Pixels) -> Pixels:
    rows, columns = (n // FACTOR * FACTOR for n in pixels.shape[:2])
    return np.ascontiguousarray(pixels[:rows, :columns])


def _eight_bits(image: FloatImage) -> Pixels:
    return np.asarray(np.rint(np.clip(image, 0, 1) * 255), np.uint8)
