"""FLIP: the difference that a viewer perceives when two images alternate."""

from __future__ import annotations

import numpy as np

from bokeh_runtime.imaging.photo import FloatImage
from bokeh_runtime.metrics.registry import Metric


def flip(image: FloatImage, reference: FloatImage) -> float:
    """Computes the mean LDR-FLIP error of Andersson et al., 2020.

    The viewing condition is 67 pixels per degree: a 4K screen at a distance of 0.7 m.

    Args:
        image: float [height, width, 3] in [0, 1], sRGB.
        reference: The reference, of the same shape and range.

    Returns:
        0 (identical images) to 1.

    Raises:
        InputError: If flip-evaluator is not installed.
        ValueError: If the shapes differ.
    """
    if image.shape != reference.shape:
        raise ValueError(f"shapes differ: {image.shape} and {reference.shape}")
    try:
        import flip_evaluator
    except ImportError as error:
        raise METRIC.missing("flip-evaluator") from error
    reference_float, image_float = (
        np.ascontiguousarray(array, np.float32) for array in (reference, image)
    )
    _, mean, _ = flip_evaluator.evaluate(reference_float, image_float, "LDR", applyMagma=False)
    return float(mean)


METRIC = Metric(
    "flip", "FLIP", flip, higher_is_better=False, extra="bench", in_conversions=False, order=2
)
