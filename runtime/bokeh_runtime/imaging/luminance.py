"""Luminance and chroma, for networks that take and give luminance alone (such as ESPCN).

Y'CbCr as in JPEG files: ITU-R BT.601, full range (ITU-T T.871, section 7).
"""

from __future__ import annotations

import cv2
import numpy as np

from bokeh_runtime.imaging.picture import FloatImage, as_float

_RED, _GREEN, _BLUE = 0.299, 0.587, 0.114


def luminance(image: FloatImage) -> FloatImage:
    """Returns the luminance Y', float32 [height, width, 1] in [0, 1].

    Args:
        image: RGB, float32 [height, width, 3] in [0, 1].
    """
    weights = np.array([[_RED], [_GREEN], [_BLUE]], np.float32)
    return as_float(image @ weights)


def with_chroma(output: FloatImage, photo: FloatImage) -> FloatImage:
    """Returns an RGB image of the luminance of one image and the chroma of another.

    Args:
        output: Luminance, float32 [height, width, 1] in [0, 1].
        photo: RGB, float32 [any height, any width, 3] in [0, 1]; resized bicubically, as is usual
            for chroma, which carries little detail.

    Returns:
        RGB, float32 [height, width, 3] in [0, 1].
    """
    height, width = output.shape[:2]
    if photo.shape[:2] != (height, width):
        photo = as_float(cv2.resize(photo, (width, height), interpolation=cv2.INTER_CUBIC))
    luma = luminance(photo)
    # (B - Y) / (2 - 2 * 0.114) and (R - Y) / (2 - 2 * 0.299), undivided: they are added back.
    red = output + (photo[..., :1] - luma)
    blue = output + (photo[..., 2:] - luma)
    green = (output - _RED * red - _BLUE * blue) / _GREEN
    return as_float(np.clip(np.concatenate([red, green, blue], axis=2), 0, 1))
