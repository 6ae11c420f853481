"""Whether a network's output follows the photo that went in.

A file can agree with its model to 100 dB while both compute nonsense, for example because both are
fed 0..1 and the network was trained on 0..255. What such a network gives is nearly black, grey or
flat. A photo with blurred background, a matte or an enhanced photo follows its photo.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from bokeh_runtime.imaging.luminance import luminance
from bokeh_runtime.imaging.photo import FloatImage

# Bokeh, mattes and enhanced photos reach 0.5 and more, other pictures than the photo's 0.1.
MIN_CORRELATION = 0.2
# A share of the photo's contrast. Networks that were fed a hundredth of their range gave 0.01.
MIN_CONTRAST = 0.05
_LONG_SIDE = 256  # Finer detail may be blurred away; it says nothing.


@dataclass(frozen=True)
class PhotoAgreement:
    """How an output follows its photo.

    Attributes:
        correlation: The larger of two absolute Pearson correlations: of the luminances, and of the
            magnitudes of their gradients. From 0 to 1.
        contrast: Standard deviation of the output's luminance over that of the photo's.
        distance: Root of the mean squared difference of the blurred images; 0 is black to black, 1
            black to white.
    """

    correlation: float
    contrast: float
    distance: float

    @property
    def fault(self) -> str | None:
        """What is wrong with the output, as the end of "the output is ..."; None if nothing."""
        if self.contrast < MIN_CONTRAST:
            return f"nearly constant (its contrast is {self.contrast:.1%} of the photo's)"
        if self.correlation < MIN_CORRELATION:
            return f"unrelated to the photo (correlation {self.correlation:.2f})"
        return None


def agreement(photo: FloatImage, output: FloatImage) -> PhotoAgreement:
    """Compares an output with its photo.

    Args:
        photo: float [height, width, 3 or more] in [0, 1]; channels from the fourth on are ignored.
        output: float [any height, any width, 1 or 3], white at 1; it is clipped to [0, 1].
    """
    height, width = photo.shape[:2]
    factor = min(1.0, _LONG_SIDE / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    first = _resized(_luminance(photo[..., :3]), size)
    second = _resized(_luminance(np.clip(output, 0, 1)), size)
    correlation = max(
        abs(_correlation(first, second)), abs(_correlation(_gradient(first), _gradient(second)))
    )
    contrast = float(second.std()) / max(float(first.std()), 1e-3)
    blurred = [cv2.GaussianBlur(image, (0, 0), max(size) / 32) for image in (first, second)]
    distance = float(np.sqrt(np.mean((blurred[0] - blurred[1]) ** 2)))
    return PhotoAgreement(correlation, contrast, distance)


def mean_agreement(agreements: Sequence[PhotoAgreement]) -> PhotoAgreement:
    """Returns the means over several photos."""
    return PhotoAgreement(
        *(
            float(np.mean([getattr(one, name) for one in agreements]))
            for name in ("correlation", "contrast", "distance")
        )
    )


def _luminance(image: FloatImage) -> npt.NDArray[np.float32]:
    if image.shape[2] == 1:
        return np.ascontiguousarray(image[..., 0], np.float32)
    return np.ascontiguousarray(luminance(image)[..., 0])


def _resized(image: npt.NDArray[np.float32], size: tuple[int, int]) -> npt.NDArray[np.float32]:
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.float32)


def _gradient(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.hypot(cv2.Sobel(image, cv2.CV_32F, 1, 0), cv2.Sobel(image, cv2.CV_32F, 0, 1))


def _correlation(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32]) -> float:
    a, b = first - first.mean(), second - second.mean()
    scale = float(np.sqrt(np.sum(a * a, dtype=np.float64) * np.sum(b * b, dtype=np.float64)))
    return float(np.sum(a * b, dtype=np.float64)) / scale if scale > 1e-9 else 0.0
