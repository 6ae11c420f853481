"""Quantizes a float32 file with a scheme, without the search."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from bokeh_convert.graph.editor import Graph
from bokeh_convert.quantize.activation_calibration import measure_activations
from bokeh_convert.quantize.engine import quantize
from bokeh_convert.quantize.equalized import convolution_activations, equalize
from bokeh_convert.quantize.mixed_precision_files import DynamicRange, StaticRange
from bokeh_convert.quantize.schemes import SCHEMES


def quantized(float32: bytes, name: str, photos: Iterable[np.ndarray] = ()) -> bytes:
    """Returns the file of a scheme; all convolutions in int8 if the scheme has a search."""
    scheme = SCHEMES[name]
    if scheme.mixed_precision == "static":
        return static_range(float32, photos).build(frozenset()).content
    if scheme.mixed_precision == "dynamic":
        return DynamicRange(float32).build(frozenset()).content
    if scheme.calibration is None:
        return quantize(float32, scheme)
    measured = measure_activations(float32, photos, threads=1)
    if scheme.equalize:
        prepared = equalize(float32, measured, {})
        return quantize(prepared.content, scheme, prepared.ranges)
    return quantize(float32, scheme, measured.min_max())


def static_range(float32: bytes, photos: Iterable[np.ndarray]) -> StaticRange:
    """Returns how the files of int8 are made, after calibration on photos."""
    names = convolution_activations(Graph(float32))
    prepared = equalize(float32, measure_activations(float32, photos, names=names, threads=1), {})
    return StaticRange(prepared.content, prepared.ranges)
