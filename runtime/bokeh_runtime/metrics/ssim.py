"""Structural similarity."""

from __future__ import annotations

from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.photo import FloatImage

WINDOW_PX, SIGMA = 11, 1.5


def ssim(image: FloatImage, reference: FloatImage) -> float:
    """Returns the mean structural similarity over RGB, 1 for identical images.

    As in Wang et al., 2004: a Gaussian window of 11 px and sigma 1.5, data range 1.0.

    Args:
        image: Float [height, width, 3] in [0, 1], 11 px or more a side.
        reference: The same shape and range.

    Raises:
        InputError: If scikit-image is not installed.
        ValueError: If the shapes differ or a side is under 11 px.
    """
    try:
        from skimage.metrics import structural_similarity
    except ImportError as error:
        raise InputError(
            "SSIM: scikit-image is not installed; run: pip install 'bokeh-tflite[bench]'"
        ) from error
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
