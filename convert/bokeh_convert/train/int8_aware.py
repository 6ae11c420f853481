"""Makes a network ready for int8-aware training, and takes the result back to plain layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from bokeh_convert.pynet.int8_aware import (
    FakeQuantize,
    RoundedConv2D,
    RoundedConv2DTranspose,
    RoundedDepthwiseConv2D,
)
from bokeh_convert.quantize.activation_statistics import TensorStatistics
from bokeh_runtime.imaging.photo import FloatImage

_ROUNDED: Mapping[type, Any] = {
    keras.layers.Conv2D: RoundedConv2D,
    keras.layers.DepthwiseConv2D: RoundedDepthwiseConv2D,
    keras.layers.Conv2DTranspose: RoundedConv2DTranspose,
}
_PLAIN: Mapping[type, Any] = {rounded: plain for plain, rounded in _ROUNDED.items()}
_FUSED = ("linear", "relu", "relu6")
"""Activation functions that a convolution has inside; others see its rounded output."""
_SAMPLED_PIXELS = 4096


def int8_aware(model: keras.Model, photos: Sequence[FloatImage]) -> keras.Model:
    """Returns a network with the same weights that rounds as static int8 does.

    The input and the output of each convolution are rounded. Convolutions of one input share the
    range of their outputs, since a conversion may merge them into one.

    Args:
        model: A functional model of convolutions.
        photos: Network inputs, float [height, width, channels], for the initial ranges. Without
            any, the ranges are to be set with the weights.
    """
    cloner = _Cloner()
    aware = keras.models.clone_model(
        _uncompiled(model), clone_function=cloner.clone, call_function=cloner.call
    )
    _copy_weights(model, aware)
    if photos:
        cloner.set_ranges(aware, photos)
    return aware


def plain(aware: keras.Model) -> keras.Model:
    """Returns the network with plain convolutions; the ranges stay, as `FakeQuantize` layers."""

    def clone(layer: Any) -> Any:
        kind = _PLAIN.get(type(layer), type(layer))
        return kind.from_config(layer.get_config())

    found = keras.models.clone_model(_uncompiled(aware), clone_function=clone)
    found.set_weights(aware.get_weights())
    return found


def _uncompiled(model: keras.Model) -> keras.Model:
    """Returns the same network without its losses, which cannot be cloned."""
    return keras.Model(model.input, model.output, name=model.name)


class _Cloner:
    """Adds `FakeQuantize` layers while a model is cloned."""

    def __init__(self) -> None:
        self._inputs: dict[int, Any] = {}
        self._outputs: dict[tuple[int, type], FakeQuantize] = {}
        self._rounded: list[Any] = []
        """Tensors that are rounded already; kept alive, since they are known by their identity."""
        self._points: list[tuple[FakeQuantize, Any]] = []

    def clone(self, layer: Any) -> Any:
        config = layer.get_config()
        kind = _ROUNDED.get(type(layer), type(layer))
        return kind.from_config(config)

    def call(self, layer: Any, *args: Any, **kwargs: Any) -> Any:
        if type(layer) not in _PLAIN:
            return layer(*args, **kwargs)
        (source,) = args
        rounded = self._input(layer, source)
        own = layer.get_config()["activation"]
        after = None if own in _FUSED else layer.activation
        if after is not None:
            layer.activation = keras.activations.linear
        key = (id(source), type(layer))
        if key not in self._outputs:
            self._outputs[key] = FakeQuantize(name=f"{layer.name}_output_int8")
        target = self._round(self._outputs[key], layer(rounded))
        return target if after is None else keras.layers.Activation(after)(target)

    def _input(self, layer: Any, source: Any) -> Any:
        if any(source is tensor for tensor in self._rounded):
            return source
        if id(source) not in self._inputs:
            quantize = FakeQuantize(name=f"{layer.name}_input_int8")
            self._inputs[id(source)] = self._round(quantize, source)
        return self._inputs[id(source)]

    def _round(self, quantize: FakeQuantize, source: Any) -> Any:
        self._points.append((quantize, source))
        target = quantize(source)
        self._rounded.append(target)
        return target

    def set_ranges(self, aware: keras.Model, photos: Sequence[FloatImage]) -> None:
        """Sets each range to that of the smallest error on photos; see `TensorStatistics`."""
        for quantize, _ in self._points:
            quantize.enabled = False
        observed = keras.Model(aware.input, [source for _, source in self._points])
        found: list[list[Any]] = [[] for _ in self._points]
        for photo in photos:
            for values, tensor in zip(found, observed(photo[np.newaxis]), strict=True):
                values.append(_sampled(keras.ops.convert_to_numpy(tensor)[0]))
        ranges: dict[int, list[tuple[float, float]]] = {}
        for (quantize, _), values in zip(self._points, found, strict=True):
            ranges.setdefault(id(quantize), []).append(_statistics(values).smallest_error())
        for quantize, _ in self._points:
            own = ranges[id(quantize)]
            quantize.enabled = True
            quantize.set_range(min(low for low, _ in own), max(high for _, high in own))


def _sampled(values: Any) -> tuple[Any, Any, Any]:
    """Returns minima and maxima by channel, and some of the pixels."""
    pixels = values.reshape(-1, values.shape[-1])
    step = max(1, len(pixels) // _SAMPLED_PIXELS)
    return pixels.min(axis=0), pixels.max(axis=0), pixels[::step]


def _statistics(values: Sequence[tuple[Any, Any, Any]]) -> TensorStatistics:
    minima, maxima, samples = (np.stack(part) for part in zip(*values, strict=True))
    return TensorStatistics(minima, maxima, samples)


def _copy_weights(source: keras.Model, target: keras.Model) -> None:
    own = {layer.name: layer for layer in target.layers}
    for layer in source.layers:
        if layer.weights:  # an input layer gets a name of its own
            own[layer.name].set_weights(layer.get_weights())
