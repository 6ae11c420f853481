"""Grain: fine noise in smooth areas, where a viewer sees it first and PSNR does not tell it apart.

Quantization adds a noise that changes from pixel to pixel. Between details it is hidden; on a
blurred background it looks like film grain, even where the PSNR is above 45 dB.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from bokeh_runtime.imaging.luminance import luminance
from bokeh_runtime.imaging.photo import FloatImage
from bokeh_runtime.metrics.registry import Metric

SMOOTH_WINDOW_PX = 7
MAX_SMOOTH_DEVIATION = 2.0
"""A pixel is in a smooth area if the standard deviation around it is below this, in 1/255."""
BLUR_SIGMA_PX = 2.0
BLUR_WINDOW_PX = 17
"""Four sigmas to each side."""
MIN_SMOOTH_PIXELS = BLUR_WINDOW_PX**2
"""Fewest pixels of smooth areas that have a grain. The blur of a smaller area is that of what is
around it, and the RMS of n independent errors varies by 1 / sqrt(2 n), which is 4 % here."""


def grain(image: FloatImage, reference: FloatImage) -> float | None:
    """Computes the RMS of the fine luminance error in the smooth areas of the reference.

    Luminance is that of ITU-R BT.601. A pixel is in a smooth area if the luminance of the reference
    has a standard deviation below 2/255 in the 7 x 7 px around it. Fine is what a Gaussian blur
    (sigma 2 px) takes away from the error, so a shift or a slow drift of the tone does not count.

    Args:
        image: float [height, width, 3] in [0, 1], or luminance [height, width, 1].
        reference: The reference, of the same shape and range.

    Returns:
        The RMS in units of 1/255, 0 or more. Rounding to 8 bits gives 0.2 in colour images and 0.3
        in grey ones; less than about 0.5 is not seen. None if fewer than `MIN_SMOOTH_PIXELS` are
        in smooth areas.

    Raises:
        ValueError: If the shapes differ.
    """
    if image.shape != reference.shape:
        raise ValueError(f"shapes differ: {image.shape} and {reference.shape}")
    smooth = smooth_areas(reference)
    if np.count_nonzero(smooth) < MIN_SMOOTH_PIXELS:
        return None
    error = _luminance_255(image) - _luminance_255(reference)
    window = (BLUR_WINDOW_PX, BLUR_WINDOW_PX)
    fine = error - np.asarray(cv2.GaussianBlur(error, window, BLUR_SIGMA_PX), np.float64)
    return float(np.sqrt(np.mean(np.square(fine[smooth]))))


def smooth_areas(image: FloatImage) -> npt.NDArray[np.bool_]:
    """Returns which pixels of an image are in a smooth area; see `grain`.

    Args:
        image: float [height, width, 3] in [0, 1].

    Returns:
        bool [height, width]. Beyond its border the image is mirrored.
    """
    levels = _luminance_255(image)
    window = (SMOOTH_WINDOW_PX, SMOOTH_WINDOW_PX)
    mean, mean_square = (
        np.asarray(cv2.blur(values, window), np.float64) for values in (levels, np.square(levels))
    )
    return np.asarray(mean_square - np.square(mean) < MAX_SMOOTH_DEVIATION**2, np.bool_)


def _luminance_255(image: FloatImage) -> npt.NDArray[np.float64]:
    levels = image if image.shape[2] == 1 else luminance(image)
    return np.asarray(levels[..., 0], np.float64) * 255


METRIC = Metric(
    "grain",
    "grain",
    grain,
    higher_is_better=False,
    text_format="{:.2f}",
    has_worst=True,
    order=3,
    # A tenth of the least that is seen. The noise itself is the same in each run of a file.
    example_tolerance=0.05,
    undefined_for=f"fewer than {MIN_SMOOTH_PIXELS} pixels in smooth areas",
    explanation=(
        "Grain is fine noise in smooth areas, in 1/255 of the luminance: rounding to 8 bits gives "
        "0.2 to 0.3, and less than about 0.5 is not seen"
    ),
)
