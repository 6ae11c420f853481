"""Peak signal-to-noise ratio."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt


def psnr(
    image: npt.NDArray[np.floating], reference: npt.NDArray[np.floating], *, border_px: int
) -> float:
    """Returns `-10 log10(mean squared error)` in dB, the peak being 1.0.

    Args:
        image: [height, width, channels], in [0, 1].
        reference: The same shape and range.
        border_px: Pixels left out along each side: 0 in the protocol `full`, 32 in `paper`
            (Ignatov et al., 2020).

    Returns:
        Decibels; infinity where the two are identical.

    Raises:
        ValueError: If the shapes differ or the border leaves nothing.
    """
    if image.shape != reference.shape:
        raise ValueError(f"shapes differ: {image.shape} and {reference.shape}")
    height, width = image.shape[:2]
    if min(height, width) <= 2 * border_px:
        raise ValueError(f"a border of {border_px} px leaves nothing of {height} x {width} px")
    inside = np.s_[border_px : height - border_px, border_px : width - border_px]
    error = np.asarray(image[inside], np.float64) - np.asarray(reference[inside], np.float64)
    mean_squared = float(np.mean(np.square(error)))
    return math.inf if mean_squared == 0 else -10 * math.log10(mean_squared)
