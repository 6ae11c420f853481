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

from bokeh_runtime.photo import FloatImage, Pixels, as_float, to_unit
from bokeh_runtime.resample import scale

# Chosen on pairs of sharp photos and targets, and on what the demo model draws of held-out photos:
# `python -m bokeh_bench join` compares with other ways.
BAND_SIGMA = 0.8  # px; detail is what a Gaussian of this width takes away
WINDOW = 5  # px; the neighbourhood over which detail is compared
LEAST_KEPT, MOST_KEPT = 0.6, 0.9  # of the detail: below is blurred, above is in focus
NOISE = 1e-5  # mean squared detail that counts as nothing to compare
_STRIP_ROWS = 16  # the fastest of 8 to 128 at 12 megapixels
_WIDE_WINDOW = 17  # px; asked where the near neighbourhood is smooth


def join(
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
    focus = in_focus(seen, drawn)
    # Both pictures are linear in the network's, so mixing is done where they are small.
    drawn = as_float(cv2.addWeighted(drawn, strength, seen, 1 - strength, 0))
    focus = np.repeat((strength * focus + (1 - strength))[..., np.newaxis], 3, axis=2)
    # Across first, then down by one matrix for each strip: a large photo never stands as floats.
    wide = [
        as_float(cv2.resize(picture, (width, rows), interpolation=method)).reshape(rows, -1)
        for picture, method in (
            (drawn * top, cv2.INTER_CUBIC),
            (seen * top, cv2.INTER_CUBIC),
            (focus, cv2.INTER_LINEAR),
        )
    ]
    cubic = _Upscaling.to(height, rows, cv2.INTER_CUBIC)
    linear = _Upscaling.to(height, rows, cv2.INTER_LINEAR)
    result = np.empty_like(pixels) if out is None else out
    flat, joined = pixels.reshape(height, -1), result.reshape(height, -1)
    depth = cv2.CV_8U if pixels.dtype == np.uint8 else cv2.CV_16U
    for start in range(0, height, _STRIP_ROWS):
        strip = slice(start, min(start + _STRIP_ROWS, height))
        picture, blurred, keep = (
            upscaling.make(strip, source)
            for upscaling, source in zip((cubic, cubic, linear), wide, strict=True)
        )
        detail = cv2.subtract(flat[strip], blurred, dtype=cv2.CV_32F)
        cv2.multiply(detail, keep, dst=detail)
        cv2.add(picture, detail, dst=joined[strip], dtype=depth)
    return result


def in_focus(seen: FloatImage, drawn: FloatImage) -> FloatImage:
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
    wide = _mean(common, _WIDE_WINDOW) / (_mean(whole, _WIDE_WINDOW) + np.float32(1e-8))
    common, whole = _mean(common, WINDOW), _mean(whole, WINDOW)
    kept = (common + NOISE * np.clip(wide, 0, 1)) / (whole + NOISE)
    step = np.clip((kept - LEAST_KEPT) / (MOST_KEPT - LEAST_KEPT), 0, 1)
    return np.asarray(step * step * (3 - 2 * step), np.float32)


def _detail(image: FloatImage) -> FloatImage:
    return image - as_float(cv2.GaussianBlur(image, (0, 0), BAND_SIGMA))


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
    def to(height: int, rows: int, method: int) -> _Upscaling:
        """Returns the weights that OpenCV's `resize` uses for `method`, cubic or linear."""
        centre = (np.arange(height) + 0.5) * rows / height - 0.5
        taps = np.floor(centre).astype(np.intp)[:, None] + np.arange(-1, 3)
        x = np.abs(centre[:, None] - taps)
        weights = _cubic(x) if method == cv2.INTER_CUBIC else np.maximum(1 - x, 0)
        return _Upscaling(np.clip(taps, 0, rows - 1), weights.astype(np.float32))

    def make(self, strip: slice, source: FloatImage) -> FloatImage:
        """Returns the rows `strip` of the tall picture; `source` is [rows, values]."""
        taps, weights = self.rows[strip], self.weights[strip]
        first, last = int(taps.min()), int(taps.max()) + 1
        matrix = np.zeros((len(taps), last - first), np.float32)
        np.add.at(matrix, (np.arange(len(taps))[:, None], taps - first), weights)
        return matrix @ source[first:last]


def _cubic(x: FloatImage) -> FloatImage:
    """Keys' kernel (1981) with a = -0.75, as OpenCV has it; `x` is the distance, up to 2."""
    a = -0.75
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, far)
