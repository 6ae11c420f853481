"""Structural similarity (SSIM)."""

from __future__ import annotations

from bokeh_runtime.imaging.photo import FloatImage
from bokeh_runtime.metrics.registry import Metric

WINDOW_PX, SIGMA = 11, 1.5


def ssim(image: FloatImage, reference: FloatImage) -> float:
    """Computes the mean SSIM of Wang et al., 2004, over the RGB channels.

    The Gaussian window has 11 px and sigma 1.5; the data range is 1.0.

    Args:
        image: float [height, width, 3] in [0, 1], at least 11 px on each side.
        reference: The reference, of the same shape and range.

    Returns:
        -1 to 1; 1 for identical images.

    Raises:
        InputError: If scikit-image is not installed.
        ValueError: If the shapes differ or a side is under 11 px.
    """
    try:
        from skimage.metrics import structural_similarity
    except ImportError as error:
        raise METRIC.missing("scikit-image") from error
    return float(
        structural_similarity(
            image,
            reference,
            channel_axis=-1,
            data_range=1.0,
            gaussian_weights=True,
            sigma=SIGMA,
            use_sample_covariance=False,
        )
    )


METRIC = Metric(
    "ssim", "SSIM", ssim, higher_is_better=True, extra="bench", in_metadata=True, order=0
)
