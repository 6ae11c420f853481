"""Losses between two images, with any Keras backend."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from bokeh_runtime.metrics.ssim import SIGMA, WINDOW_PX

_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363)
"""The first four of MS-SSIM's five, which fit into a crop of 96 px; smaller ones have fewer."""
_C1, _C2 = 0.01**2, 0.03**2


def charbonnier(target: Any, output: Any) -> Any:
    """Returns the Charbonnier loss, mean(sqrt(error^2 + 0.05^2) - 0.05), of two equal shapes.

    (Charbonnier et al., 1994, "Two deterministic half-quadratic regularization algorithms for
    computed imaging".) It is quadratic for small errors, which favors PSNR, and linear for large
    errors: where it is uncertain whether a pixel is sharp, a purely quadratic loss would give the
    average, a half-blurred pixel.
    """
    return ops.mean(ops.sqrt(ops.square(target - output) + 0.05**2)) - 0.05


def mean_error(target: Any, output: Any, knee: float = 0.004) -> Any:
    """Returns mean(sqrt(error^2 + knee^2) - knee): nearly the mean absolute error.

    A student can come near to its teacher, so the knee of the Charbonnier loss is at one level of
    an 8-bit image.
    """
    return ops.mean(ops.sqrt(ops.square(target - output) + knee**2)) - knee


def smooth_gradient_error(target: Any, output: Any, smooth: Any) -> Any:
    """Returns the mean absolute error of the gradients in smooth areas, where grain is seen.

    Args:
        target: [batch, height, width, channels].
        output: Of the same shape.
        smooth: [batch, height, width, 1], 1 in smooth areas and 0 elsewhere; see
            `bokeh_runtime.metrics.grain.smooth_areas`.
    """
    error = target - output
    rows = ops.abs(error[:, 1:] - error[:, :-1]) * smooth[:, 1:]
    columns = ops.abs(error[:, :, 1:] - error[:, :, :-1]) * smooth[:, :, 1:]
    return ops.mean(rows) + ops.mean(columns)


def ms_ssim_loss(target: Any, output: Any, side: int) -> Any:
    """Returns 1 - MS-SSIM (Wang, Simoncelli and Bovik, 2003), with at most four scales.

    Args:
        target: [batch, height, width, channels] in [0, 1].
        output: Of the same shape.
        side: The shorter side, at least 11 px.
    """
    product: Any = 1.0
    weights = [w for i, w in enumerate(_SCALE_WEIGHTS) if side >> i >= WINDOW_PX]
    for scale, weight in enumerate(weights):
        luminance, contrast = _terms(target, output)
        last = scale == len(weights) - 1
        term = ops.mean(luminance * contrast if last else contrast)
        # Its power has no slope at 0, and below 0 no value.
        product = product * ops.maximum(term, 1e-4) ** (weight / sum(weights))
        if not last:
            target, output = (ops.average_pool(image, 2, 2, "valid") for image in (target, output))
    return 1 - product


def _terms(target: Any, output: Any) -> tuple[Any, Any]:
    channels = target.shape[-1]
    # One blur of all that is needed, since a convolution with few channels is mostly overhead.
    images = (target, output, target * output, ops.square(target) + ops.square(output))
    blurred = _blur(ops.concatenate(images, axis=-1), 4 * channels)
    a, b, both, squares = (blurred[..., i * channels : (i + 1) * channels] for i in range(4))
    product, own = a * b, ops.square(a) + ops.square(b)
    luminance = (2 * product + _C1) / (own + _C1)
    return luminance, (2 * (both - product) + _C2) / (squares - own + _C2)


def _blur(image: Any, channels: int) -> Any:
    at = np.arange(WINDOW_PX) - WINDOW_PX // 2
    window = np.exp(-(at**2) / (2 * SIGMA**2))
    window = (window / window.sum()).astype(np.float32)
    for shape in ((WINDOW_PX, 1, 1, 1), (1, WINDOW_PX, 1, 1)):
        kernel = np.tile(window.reshape(shape), (1, 1, channels, 1))
        image = ops.depthwise_conv(image, ops.convert_to_tensor(kernel), padding="valid")
    return image
