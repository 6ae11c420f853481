"""Upscales a network's output to the photo's size, with the photo's detail where it is in focus.

    result = upscale(network_output) + weight * (photo - upscale(network_input))

`network_input` is the photo at the network's resolution, so the difference is the detail that is
too fine for the network. The weight comes from `focus_mask`: where the network kept the finest
detail of its input, the photo's finer detail is added; where it blurred, nothing is added. All
frequencies that the network can represent come from the network, so the result, downscaled, is the
network's output again.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from bokeh_runtime.contract.constants import JOIN, PREPARE
from bokeh_runtime.imaging.photo import FloatImage, Pixels, as_float, to_unit
from bokeh_runtime.imaging.resample import scale

# The constants in `JOIN` are tuned on pairs of sharp photos and targets, and on outputs of the demo
# model for held-out photos. `bokeh-bench study detail-fusion` compares with other methods.
_STRIP_ROWS = 16  # the fastest of 8 to 32 for photos of 16 megapixels
# OpenBLAS starts no threads up to twice as many multiplications (GEMM_MULTITHREAD_THRESHOLD).
_MAX_MULTIPLICATIONS = 2**17


def fuse_detail(
    pixels: Pixels,
    network_output: FloatImage,
    network_input: FloatImage | None = None,
    *,
    strength: float = 1.0,
    out: Pixels | None = None,
) -> Pixels:
    """Upscales a network's output to the photo's size, and adds the photo's detail where in focus.

    Args:
        pixels: The photo, uint8 or uint16 [height, width, 3], RGB.
        network_output: The network's output for the whole photo, float32
            [any height, any width, 3] in [0, 1].
        network_input: The photo resized to the size of `network_output`, float32 in [0, 1]. None,
            or another size, computes it from `pixels`.
        strength: Weight of the network's output in the result, 0 (the photo) to 1.
        out: Array for the result, with the dtype and shape of `pixels`. It may be `pixels` itself,
            which saves memory.

    Returns:
        The result, with the dtype and shape of `pixels`; `out` if that is given.
    """
    height, width = pixels.shape[:2]
    max_value = np.float32(np.iinfo(pixels.dtype).max)
    rows, columns = network_output.shape[:2]
    if rows >= height or columns >= width:
        network_output = as_float(
            cv2.resize(network_output, (width, height), interpolation=cv2.INTER_AREA)
        )
        network_input = to_unit(pixels)
        rows, columns = height, width
    elif network_input is None or network_input.shape != network_output.shape:
        network_input = scale(pixels, rows, columns)
    focus = focus_mask(network_input, network_output)
    # Upscaling is linear, so the images are mixed at the network's size, where that is cheaper.
    mixed = as_float(cv2.addWeighted(network_output, strength, network_input, 1 - strength, 0))
    weights = np.repeat((strength * focus + (1 - strength))[..., np.newaxis], 3, axis=2)
    # The columns are upscaled first, then the rows in strips, so that no full-size float image is
    # needed. Both images stand side by side in one array, so that one product upscales both.
    wide = np.empty((rows, 2 * width * 3), np.float32)
    wide[:, : width * 3] = _upscale_columns(mixed * max_value, width, cv2.INTER_CUBIC)
    wide[:, width * 3 :] = _upscale_columns(network_input * max_value, width, cv2.INTER_CUBIC)
    wide_weights = _upscale_columns(weights, width, cv2.INTER_LINEAR)
    result = np.empty_like(pixels) if out is None else out
    _upscale_rows(wide, wide_weights, pixels.reshape(height, -1), result.reshape(height, -1))
    return result


def _upscale_columns(image: FloatImage, width: int, interpolation: int) -> FloatImage:
    """Resizes an image to `width` columns. Returns its rows, [height, width * channels]."""
    resized = cv2.resize(image, (width, image.shape[0]), interpolation=interpolation)
    return as_float(resized).reshape(image.shape[0], -1)


def _upscale_rows(images: FloatImage, weights: FloatImage, photo: Pixels, result: Pixels) -> None:
    """Upscales rows to the photo's height, and adds the photo's detail.

    Args:
        images: [rows, 2 * values]: each row of the network's output, then that of its input.
        weights: Weight of the photo's detail, [rows, values] in [0, 1].
        photo: [height, values].
        result: [height, values], which is written. It may be `photo`.
    """
    height, values = photo.shape
    cubic = _RowUpscaling.create(height, len(images), 4)
    linear = _RowUpscaling.create(height, len(weights), 2)
    has_weight = np.asarray(weights.any(axis=1))
    depth = cv2.CV_8U if photo.dtype == np.uint8 else cv2.CV_16U
    strip_images = np.empty((_STRIP_ROWS, 2 * values), np.float32)
    strip_weights = np.empty((_STRIP_ROWS, values), np.float32)
    zeros = np.zeros((_STRIP_ROWS, values), np.float32)
    for start in range(0, height, _STRIP_ROWS):
        strip = slice(start, min(start + _STRIP_ROWS, height))
        count = strip.stop - start
        output, detail = strip_images[:count, :values], zeros[:count]
        if has_weight[linear.rows[strip]].any():
            cubic.apply(strip, images, strip_images)
            linear.apply(strip, weights, strip_weights)
            detail = strip_images[:count, values:]
            cv2.subtract(photo[strip], detail, dst=detail, dtype=cv2.CV_32F)
            cv2.multiply(detail, strip_weights[:count], dst=detail)
        else:
            cubic.apply(strip, images[:, :values], strip_images[:, :values])
        cv2.add(output, detail, dst=result[strip], dtype=depth)


def focus_mask(network_input: FloatImage, network_output: FloatImage) -> FloatImage:
    """Estimates how far each pixel is in focus, from the detail that the network kept.

    The ratio of kept detail is the slope of a least-squares fit, over a window, of the output's
    detail to the input's detail: sum(in * out) / sum(in * in). A smoothstep from
    `JOIN.blurred_below` to `JOIN.in_focus_above` turns it into focus. The lower bound is well above
    0, since a blur that keeps half of the detail in one octave keeps almost none in those above.

    Args:
        network_input: The photo at the network's resolution, float32 [height, width, 3] in [0, 1].
        network_output: The network's output, of the same shape and range.

    Returns:
        float32 [height, width], 0 (blurred) to 1 (in focus).
    """
    input_detail, output_detail = _detail(network_input), _detail(network_output)
    product = (input_detail * output_detail).sum(axis=2)
    power = (input_detail * input_detail).sum(axis=2)
    wide_ratio = _mean(product, JOIN.wide_window_px) / (
        _mean(power, JOIN.wide_window_px) + np.float32(JOIN.wide_noise)
    )
    # The noise term pulls the ratio of a smooth window towards that of the wider window.
    ratio = (_mean(product, JOIN.window_px) + JOIN.noise * np.clip(wide_ratio, 0, 1)) / (
        _mean(power, JOIN.window_px) + JOIN.noise
    )
    blurred, focused = JOIN.blurred_below, JOIN.in_focus_above
    step = np.clip((ratio - blurred) / (focused - blurred), 0, 1)
    return np.asarray(step * step * (3 - 2 * step), np.float32)


def _detail(image: FloatImage) -> FloatImage:
    taps = 2 * JOIN.band_radius_px + 1
    return image - as_float(cv2.GaussianBlur(image, (taps, taps), JOIN.band_sigma_px))


def _mean(image: FloatImage, window: int) -> FloatImage:
    return as_float(cv2.blur(image, (window, window), borderType=cv2.BORDER_REFLECT))


@dataclass(frozen=True)
class _RowUpscaling:
    """Interpolation weights, by which each row of the large image is a sum of small-image rows.

    Attributes:
        rows: [height, taps], indices of rows of the small image, clipped to its edges.
        weights: [height, taps].
    """

    rows: npt.NDArray[np.intp]
    weights: FloatImage

    @staticmethod
    def create(height: int, rows: int, taps: int) -> _RowUpscaling:
        """Returns the weights of OpenCV's `resize` from `rows` to `height`.

        Args:
            height: Rows of the large image.
            rows: Rows of the small image.
            taps: 4 for cubic, 2 for linear interpolation.
        """
        centre = (np.arange(height) + 0.5) * rows / height - 0.5
        first = np.floor(centre).astype(np.intp)[:, None] + 1 - taps // 2
        positions = first + np.arange(taps)
        distance = np.abs(centre[:, None] - positions)
        weights = _cubic(distance) if taps == 4 else 1 - distance
        return _RowUpscaling(np.clip(positions, 0, rows - 1), weights.astype(np.float32))

    def apply(self, strip: slice, source: FloatImage, out: FloatImage) -> None:
        """Computes the rows `strip` of the large image.

        The matrix products are so small that a BLAS does not use threads for them. Its threads
        busy-wait for each other, which on a loaded machine takes far longer than the arithmetic.

        Args:
            strip: Rows of the large image.
            source: The small image, [rows, values].
            out: [at least the rows of `strip`, values], which is written.
        """
        rows, weights = self.rows[strip], self.weights[strip]
        first, last = int(rows.min()), int(rows.max()) + 1
        matrix = np.zeros((len(rows), last - first), np.float32)
        np.add.at(matrix, (np.arange(len(rows))[:, None], rows - first), weights)
        columns = max(1, _MAX_MULTIPLICATIONS // matrix.size)
        for start in range(0, source.shape[1], columns):
            part = slice(start, start + columns)
            np.matmul(matrix, source[first:last, part], out=out[: len(rows), part])


def _cubic(distance: FloatImage) -> FloatImage:
    """Cubic convolution kernel of Keys (1981) with OpenCV's parameter, for distances up to 2."""
    a = PREPARE.bicubic_upscale_a
    inner = ((a + 2) * distance - (a + 3)) * distance * distance + 1
    outer = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return np.where(distance <= 1, inner, outer)
