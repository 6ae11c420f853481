"""Resizes photos to a network's input size with the resampling that its training used."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from bokeh_runtime.contract.constants import PREPARE
from bokeh_runtime.errors import Argument, InputError
from bokeh_runtime.imaging.photo import FloatImage, Pixels, as_float, to_unit

# "area": the mean over the area of each output pixel (the demo model). "bicubic": Pillow's, with
# antialiasing (the PyNET authors' code, through scipy.misc.imresize).
RESAMPLING = PREPARE.resampling


@dataclass(frozen=True)
class Frame:
    """The area of a photo within a network's input, in pixels: centred, with its aspect ratio."""

    top: int
    left: int
    height: int
    width: int

    @staticmethod
    def within(photo: tuple[int, int], network: tuple[int, int]) -> Frame:
        """Returns the largest frame with the photo's aspect ratio.

        Args:
            photo: Height and width of the photo in pixels.
            network: Height and width of the network's input in pixels.
        """
        factor = min(network[0] / photo[0], network[1] / photo[1])
        height = min(network[0], max(1, round(photo[0] * factor)))
        width = min(network[1], max(1, round(photo[1] * factor)))
        return Frame((network[0] - height) // 2, (network[1] - width) // 2, height, width)

    def scaled(self, factor: float) -> Frame:
        """Returns the same frame in an image of `factor` times the height and width.

        A narrow one keeps at least one pixel.
        """
        top, left = round(self.top * factor), round(self.left * factor)
        height, width = round(self.height * factor), round(self.width * factor)
        return Frame(top, left, max(1, height), max(1, width))

    def crop(self, image: FloatImage) -> FloatImage:
        """Returns the part of an image [height, width, channels] within the frame."""
        return image[self.top : self.top + self.height, self.left : self.left + self.width]

    def pad(self, image: FloatImage, network: tuple[int, int]) -> FloatImage:
        """Pads an image of the frame's size to the network's input size.

        The padding mirrors the image, so that its mean and variance, which instance normalization
        uses, hardly change.

        Args:
            image: [frame height, frame width, channels].
            network: Height and width of the network's input in pixels.

        Returns:
            [network height, network width, channels].
        """
        bottom = network[0] - self.top - self.height
        right = network[1] - self.left - self.width
        sides = ((self.top, bottom), (self.left, right), (0, 0))
        return np.pad(image, sides, mode="symmetric")


def scale(pixels: Pixels, height: int, width: int, resampling: str = "area") -> FloatImage:
    """Resizes a photo without keeping its aspect ratio.

    Args:
        pixels: uint8 or uint16 [any height, any width, channels].
        height: Height of the result in pixels.
        width: Width of the result in pixels.
        resampling: One of `RESAMPLING`, used if both sides shrink. Otherwise it is bicubic.

    Returns:
        float32 [height, width, channels] in [0, 1].

    Raises:
        InputError: If `resampling` is unknown.
    """
    if resampling not in RESAMPLING:
        raise InputError(
            Argument("resampling", resampling), f": unknown; use {' or '.join(RESAMPLING)}"
        )
    if height > pixels.shape[0] or width > pixels.shape[1]:
        enlarged = cv2.resize(to_unit(pixels), (width, height), interpolation=cv2.INTER_CUBIC)
        return as_float(np.clip(enlarged, 0, 1)).reshape(height, width, -1)
    if resampling == "bicubic":
        if pixels.dtype == np.uint16:
            pixels = (pixels >> 8).astype(np.uint8)  # Pillow has no 16-bit colour
        image = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
        return to_unit(np.asarray(image))
    return _mean_over_area(pixels, height, width)


def fit(image: FloatImage, height: int, width: int, resampling: str = "area") -> FloatImage:
    """Resizes an image until it covers `height` x `width` pixels, and crops its centre.

    Args:
        image: float32 [any height, any width, channels] in [0, 1].
        height: Height of the result in pixels.
        width: Width of the result in pixels.
        resampling: One of `RESAMPLING`, used if the image shrinks. Otherwise it is bicubic.

    Returns:
        float32 [height, width, channels] in [0, 1].
    """
    factor = max(height / image.shape[0], width / image.shape[1])
    rows = max(height, round(image.shape[0] * factor))
    columns = max(width, round(image.shape[1] * factor))
    if factor < 1 and resampling == "bicubic":
        channels = [
            Image.fromarray(image[..., i]).resize((columns, rows), Image.Resampling.BICUBIC)
            for i in range(image.shape[2])
        ]
        scaled = np.dstack([np.asarray(channel) for channel in channels])
    else:
        method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        # OpenCV drops the axis of a single channel.
        scaled = cv2.resize(image, (columns, rows), interpolation=method).reshape(rows, columns, -1)
    top, left = (rows - height) // 2, (columns - width) // 2
    cropped = scaled[top : top + height, left : left + width]
    return np.ascontiguousarray(np.clip(cropped, 0, 1), dtype=np.float32)


def _mean_over_area(pixels: Pixels, height: int, width: int) -> FloatImage:
    """Resizes by the mean over the area of each output pixel.

    The rows are reduced first, so that no full-size float image is needed. There is no matrix
    product, since the threads of a BLAS busy-wait for each other, which on a loaded machine takes
    far longer than the arithmetic.
    """
    rows, columns, channels = pixels.shape
    flat = pixels.reshape(rows, -1)
    step = rows / height
    reduced = np.empty((height, flat.shape[1]), np.float32)
    part = np.empty(flat.shape[1], np.float32)
    for y, total in enumerate(reduced):
        # Full rows, and fractions of the rows at the upper and the lower edge.
        first, last = math.ceil(y * step), min(rows, math.floor((y + 1) * step))
        total[:] = 0
        if first < last:
            full_rows = flat[first:last]
            cv2.reduce(full_rows, 0, cv2.REDUCE_SUM, dst=total[np.newaxis], dtype=cv2.CV_32F)
        for row, fraction in ((first - 1, first - y * step), (last, (y + 1) * step - last)):
            if fraction > 0 and row < rows:
                cv2.add(total, np.multiply(flat[row], np.float32(fraction), out=part), dst=total)
    wide = reduced.reshape(height, columns, channels)
    mean = as_float(cv2.resize(wide, (width, height), interpolation=cv2.INTER_AREA))
    mean *= np.float32(1 / (step * np.iinfo(pixels.dtype).max))
    return mean.reshape(height, width, channels)
