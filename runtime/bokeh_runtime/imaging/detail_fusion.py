"""Joins a network's small picture with its photo at the photo's full size.

The network has decided what is in focus at its own resolution. Where it kept the finest detail that
it could see, the detail that was too fine for it is taken from the photo; where it blurred, nothing
is added to its picture. Every band that the network could see is the network's, so the result
scaled down is its picture again.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from bokeh_runtime.contract.constants import JOIN, PREPARE
from bokeh_runtime.imaging.photo import FloatImage, Pixels, as_float, to_unit
from bokeh_runtime.imaging.resample import scale

# Chosen on pairs of sharp photos and targets, and on what the demo model draws of held-out photos:
# `bokeh-bench study detail-fusion` compares with other ways.
BAND_SIGMA, WINDOW, NOISE = JOIN.band_sigma_px, JOIN.window_px, JOIN.noise
LEAST_KEPT, MOST_KEPT = JOIN.blurred_below, JOIN.in_focus_above
_STRIP_ROWS = 16  # the fastest of 8 to 32 at 16 megapixels
# OpenBLAS multiplies on the calling thread up to twice as many (GEMM_MULTITHREAD_THRESHOLD).
_MOST_PRODUCTS = 2**17


def fuse_detail(
    pixels: Pixels,
    drawn: FloatImage,
    seen: FloatImage | None = None,
    *,
    strength: float = 1.0,
    out: Pixels | None = None,
) -> Pixels:
    """Returns the network's picture at the photo's size, with the photo's detail where in focus.

    Args:
        pixels: The photo, uint8 or uint16 [height, width, 3].
        drawn: The network's picture of all of it, [any height, any width, 3] in [0, 1].
        seen: The photo at the size of `drawn`, if it is at hand.
        strength: 1 is the network's picture, 0 the photo, between them their mixture.
        out: Where to write the result, of the type and shape of `pixels`; may be `pixels`. It
            spares fresh memory.

    Returns:
        The type and shape of `pixels`.
    """
    height, width = pixels.shape[:2]
    top = np.float32(np.iinfo(pixels.dtype).max)
    rows, columns = drawn.shape[:2]
    if rows >= height or columns >= width:
        drawn = as_float(cv2.resize(drawn, (width, height), interpolation=cv2.INTER_AREA))
        seen = to_unit(pixels)
        rows, columns = height, width
    elif seen is None or seen.shape != drawn.shape:
        seen = scale(pixels, rows, columns)
    focus = focus_mask(seen, drawn)
    # Both pictures are linear in the network's, so mixing is done where they are small.
    drawn = as_float(cv2.addWeighted(drawn, strength, seen, 1 - strength, 0))
    focus = np.repeat((strength * focus + (1 - strength))[..., np.newaxis], 3, axis=2)
    # Across first, then down in strips: a large photo never stands as floats.
    both = np.empty((rows, 2 * width * 3), np.float32)
    both[:, : width * 3] = _across(drawn * top, width, cv2.INTER_CUBIC)
    both[:, width * 3 :] = _across(seen * top, width, cv2.INTER_CUBIC)
    keep = _across(focus, width, cv2.INTER_LINEAR)
    result = np.empty_like(pixels) if out is None else out
    _down(both, keep, pixels.reshape(height, -1), result.reshape(height, -1))
    return result


def _across(image: FloatImage, width: int, method: int) -> FloatImage:
    """Scales a picture to `width` pixels across, and returns its rows, [height, values]."""
    scaled = as_float(cv2.resize(image, (width, image.shape[0]), interpolation=method))
    return scaled.reshape(image.shape[0], -1)


def _down(both: FloatImage, keep: FloatImage, photo: Pixels, result: Pixels) -> None:
    """Scales the network's rows to the photo's height, and adds the photo's detail.

    Args:
        both: [rows, 2 * values]: each row of the network's picture, then that of the photo blurred.
        keep: [rows, values]: the share of the photo's detail that is kept.
        photo: [height, values].
        result: [height, values], which is written; may be `photo`.
    """
    height, values = photo.shape
    cubic, linear = _Upscaling.to(height, len(both), 4), _Upscaling.to(height, len(keep), 2)
    kept_rows = np.asarray(keep.any(axis=1))
    depth = cv2.CV_8U if photo.dtype == np.uint8 else cv2.CV_16U
    made = np.empty((_STRIP_ROWS, 2 * values), np.float32)
    shares = np.empty((_STRIP_ROWS, values), np.float32)
    nothing = np.zeros((_STRIP_ROWS, values), np.float32)
    for start in range(0, height, _STRIP_ROWS):
        strip = slice(start, min(start + _STRIP_ROWS, height))
        count = strip.stop - start
        picture, detail = made[:count, :values], nothing[:count]
        if kept_rows[linear.rows[strip]].any():
            cubic.make(strip, both, made)
            linear.make(strip, keep, shares)
            detail = made[:count, values:]
            cv2.subtract(photo[strip], detail, dst=detail, dtype=cv2.CV_32F)
            cv2.multiply(detail, shares[:count], dst=detail)
        else:
            cubic.make(strip, both[:, :values], made[:, :values])
        cv2.add(picture, detail, dst=result[strip], dtype=depth)


def focus_mask(seen: FloatImage, drawn: FloatImage) -> FloatImage:
    """Returns, for each pixel, how far it is in focus, [height, width] in [0, 1].

    The share of detail kept is the slope of a least-squares fit of the detail drawn to the detail
    seen, over a window; a smooth step turns it into focus. A lens that keeps half of one octave
    keeps next to nothing of the octaves above, so a share below `LEAST_KEPT` is none.

    Args:
        seen: The photo at the network's resolution, [height, width, 3] in [0, 1].
        drawn: What the network drew from it, of the same shape.
    """
    before, after = _detail(seen), _detail(drawn)
    common, whole = (before * after).sum(axis=2), (before * before).sum(axis=2)
    window = JOIN.wide_window_px
    wide = _mean(common, window) / (_mean(whole, window) + np.float32(JOIN.wide_noise))
    common, whole = _mean(common, WINDOW), _mean(whole, WINDOW)
    kept = (common + NOISE * np.clip(wide, 0, 1)) / (whole + NOISE)
    step = np.clip((kept - LEAST_KEPT) / (MOST_KEPT - LEAST_KEPT), 0, 1)
    return np.asarray(step * step * (3 - 2 * step), np.float32)


def _detail(image: FloatImage) -> FloatImage:
    taps = 2 * JOIN.band_radius_px + 1
    return image - as_float(cv2.GaussianBlur(image, (taps, taps), BAND_SIGMA))


def _mean(image: FloatImage, window: int) -> FloatImage:
    return as_float(cv2.blur(image, (window, window), borderType=cv2.BORDER_REFLECT))


@dataclass(frozen=True)
class _Upscaling:
    """Weights that make each of the tall picture's rows out of rows of the small one.

    Attributes:
        rows: [height, taps] of the small picture, those past its edges taken from the edge.
        weights: [height, taps].
    """

    rows: npt.NDArray[np.intp]
    weights: FloatImage

    @staticmethod
    def to(height: int, rows: int, taps: int) -> _Upscaling:
        """Returns the weights that OpenCV's `resize` uses: 4 taps are cubic, 2 are linear."""
        centre = (np.arange(height) + 0.5) * rows / height - 0.5
        first = np.floor(centre).astype(np.intp)[:, None] + 1 - taps // 2
        near = first + np.arange(taps)
        x = np.abs(centre[:, None] - near)
        weights = _cubic(x) if taps == 4 else 1 - x
        return _Upscaling(np.clip(near, 0, rows - 1), weights.astype(np.float32))

    def make(self, strip: slice, source: FloatImage, out: FloatImage) -> None:
        """Writes the rows `strip` of the tall picture; `source` is [rows, values].

        In matrix products so small that a BLAS has no use for its threads: those spin for each
        other, and on a busy machine that takes many times as long as the sums themselves.
        """
        taps, weights = self.rows[strip], self.weights[strip]
        first, last = int(taps.min()), int(taps.max()) + 1
        matrix = np.zeros((len(taps), last - first), np.float32)
        np.add.at(matrix, (np.arange(len(taps))[:, None], taps - first), weights)
        columns = max(1, _MOST_PRODUCTS // matrix.size)
        for start in range(0, source.shape[1], columns):
            part = slice(start, start + columns)
            np.matmul(matrix, source[first:last, part], out=out[: len(taps), part])


def _cubic(x: FloatImage) -> FloatImage:
    """Keys' kernel (1981), with the parameter that OpenCV has; `x` is the distance, up to 2."""
    a = PREPARE.bicubic_upscale_a
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, far)
