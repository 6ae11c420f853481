"""Structural similarity."""

from __future__ import annotations

from skimage.metrics import structural_similarity

from bokeh_runtime.imaging.photo import FloatImage


def ssim(picture: FloatImage, expected: FloatImage) -> float:
    """Returns the mean structural similarity over RGB, 1 for identical pictures.

    As in Wang et al., 2004: a Gaussian window of 11 px and sigma 1.5, data range 1.0.

    Args:
        picture: Float [height, width, 3] in [0, 1], 11 px or more a side.
        expected: The same shape and range.
    """
    return float(
        structural_similarity(
            picture,
            expected,
            channel_axis=-1,
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )
