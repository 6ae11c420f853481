"""FLIP, the difference that a viewer sees when two images alternate."""

from __future__ import annotations

import numpy as np

from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.photo import FloatImage


def flip(image: FloatImage, reference: FloatImage) -> float:
    """Returns the mean of LDR-FLIP, 0 for identical images and 1 at most.

    As in Andersson et al., 2020, at 67 pixels per degree: a 4K screen seen from 0.7 m.

    Args:
        image: Float [height, width, 3] in [0, 1], sRGB.
        reference: The same shape and range.

    Raises:
        InputError: If flip-evaluator is not installed.
        ValueError: If the shapes differ.
    """
    if image.shape != reference.shape:
        raise ValueError(f"shapes differ: {image.shape} and {reference.shape}")
    try:
        import flip_evaluator
    except ImportError as error:
        raise InputError(
            "FLIP: flip-evaluator is not installed; run: pip install 'bokeh-tflite[bench]'"
        ) from error
    theirs, ours = (np.ascontiguousarray(one, np.float32) for one in (reference, image))
    _, mean, _ = flip_evaluator.evaluate(theirs, ours, "LDR", applyMagma=False)
    return float(mean)
