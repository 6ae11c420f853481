"""Makes a network ready for int8-aware training, and takes the result back to plain layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from bokeh_convert.pynet.int8_aware import (
    FakeQuantize,
    RoundedConv2D,
    RoundedConv2DTranspose,
    RoundedDepthwiseConv2D,
    ScaledInstanceNormalization,
)
from bokeh_convert.pynet.layers import FirstChannels, InstanceNormalization, SpaceToDepth
from bokeh_convert.quantize.activation_statistics import TensorStatistics
from bokeh_convert.train.equalize import LayerCall, Measured, equalize_layers
from bokeh_runtime.imaging.photo import FloatImage

_ROUNDED: Mapping[type, Any] = {
    keras.layers.Conv2D: RoundedConv2D,
    keras.layers.DepthwiseConv2D: RoundedDepthwiseConv2D,
    keras.layers.Conv2DTranspose: RoundedConv2DTranspose,
}
_PLAIN: Mapping[type, Any] = {rounded: plain for plain, rounded in _ROUNDED.items()}
_COPYING = (SpaceToDepth, FirstChannels, keras.layers.MaxPooling2D, FakeQuantize)
"""Layers whose output has values of their input."""
_FUSED = ("linear", "relu", "relu6")
"""Activation functions that a convolution has inside; others see its rounded output."""
_SAMPLED_PIXELS = 4096
_OUTPUT = "_output_int8"
_FEATURE_DISTANCE = 6
"""Every sixth output of a convolution is compared: all of them would double the time of a step."""


def int8_aware(model: keras.Model, photos: Sequence[FloatImage]) -> keras.Model:
    """Returns a network with the same weights that rounds as static int8 does.

    The input and the output of each convolution are rounded. Convolutions of one input share the
    range of their outputs, since a conversion may merge them into one. The network's input has its
    range, 0 to 1, and the channels of the others are equalized.

    Args:
        model: A functional model of convolutions, whose inputs are in [0, 1].
        photos: Network inputs, float [height, width, channels], for the initial ranges. Without
            any, the ranges are to be set with the weights.
    """
    cloner = _Cloner()
    aware = keras.models.clone_model(
        _uncompiled(model), clone_function=cloner.clone, call_function=cloner.call
    )
    _copy_weights(model, aware)
    cloner.fix_input_ranges(aware)
    if photos:
        cloner.set_ranges(aware, photos)
    return aware


def plain(aware: keras.Model) -> keras.Model:
    """Returns the network with plain convolutions; the ranges stay, as `FakeQuantize` layers."""
    return _with_kinds(aware, _PLAIN)


def with_rounded_kernels(trained: keras.Model) -> keras.Model:
    """Returns the network that `plain` was given: it rounds as its static int8 file does."""
    return _with_kinds(trained, _ROUNDED)


def _with_kinds(model: keras.Model, kinds: Mapping[type, Any]) -> keras.Model:
    def clone(layer: Any) -> Any:
        return kinds.get(type(layer), type(layer)).from_config(layer.get_config())

    found = keras.models.clone_model(_uncompiled(model), clone_function=clone)
    found.set_weights(model.get_weights())
    return found


def freeze_coarse_layers(aware: keras.Model, shape: tuple[int, ...], share: float) -> None:
    """Makes layers with a small output keep their weights and ranges.

    In networks of several resolutions, coarse layers decide what is sharp, and their rounding
    hardly shows; the grain comes from the fine ones. Training all of them changes the former.

    Args:
        aware: The result of `int8_aware`.
        shape: Of the network's input, [height, width, channels].
        share: A layer is frozen if its outputs have less than this share of the network's height.
    """
    sized = keras.models.clone_model(aware, input_tensors=keras.Input(shape))
    least = share * sized.outputs[-1].shape[1]
    for layer in sized.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        outputs = [one for node in layer._inbound_nodes for one in node.output_tensors]
        if all(len(one.shape) == 4 and one.shape[1] < least for one in outputs):
            aware.get_layer(layer.name).trainable = False


def with_feature_error(aware: keras.Model) -> keras.Model:
    """Returns a model to train, which shares the layers of a network and has another output.

    The last output is how far activations in the network are from what it computes now without
    rounding, float [batch, 1]: mean absolute errors, relative to the mean absolute values,
    averaged over the activations. So a network keeps computing what it did on other photos than
    it is trained on.

    Args:
        aware: The result of `int8_aware`, with the weights from which training starts.
    """
    frozen = plain(aware)
    frozen.trainable = False
    names = [layer.name for layer in aware.layers if isinstance(layer, FakeQuantize)]
    for name in names:
        frozen.get_layer(name).enabled = False
    called_once = {layer.name for layer in aware.layers if len(layer._inbound_nodes) == 1}
    outputs = [name for name in names if name.endswith(_OUTPUT) and name in called_once]
    chosen = outputs[::-_FEATURE_DISTANCE]
    if not chosen:
        return aware
    own = [aware.get_layer(name).output for name in chosen]
    before = keras.Model(frozen.input, [frozen.get_layer(name).output for name in chosen])
    before.trainable = False
    error = _RelativeError()([*own, *keras.tree.flatten(before(aware.input))])
    return keras.Model(aware.input, [*aware.outputs, error])


class _RelativeError(keras.layers.Layer):  # type: ignore[misc]
    """The mean relative error of the first half of its inputs from the second."""

    def call(self, inputs: Any) -> Any:
        ops, half = keras.ops, len(inputs) // 2
        errors = []
        for own, expected in zip(inputs[:half], inputs[half:], strict=True):
            size = ops.mean(ops.abs(expected), axis=(1, 2, 3)) + 1e-6
            errors.append(ops.mean(ops.abs(own - expected), axis=(1, 2, 3)) / size)
        return ops.mean(ops.stack(errors, axis=-1), axis=-1, keepdims=True)


def _uncompiled(model: keras.Model) -> keras.Model:
    """Returns the same network without its losses, which cannot be cloned.

    A list of one input becomes that input, since the network is called with one tensor.
    """
    inputs = model.inputs[0] if len(model.inputs) == 1 else model.input
    return keras.Model(inputs, model.output, name=model.name)


class _Cloner:
    """Adds `FakeQuantize` layers while a model is cloned."""

    def __init__(self) -> None:
        self._inputs: dict[int, Any] = {}
        self._outputs: dict[tuple[int, type], FakeQuantize] = {}
        self._after: dict[int, Any] = {}
        self._names: Counter[str] = Counter()
        self._calls: list[LayerCall] = []
        """All calls, which keep the tensors alive: these are known by their identity."""

    def clone(self, layer: Any) -> Any:
        config = layer.get_config()
        kind = _ROUNDED.get(type(layer), type(layer))
        if kind is InstanceNormalization:
            kind = ScaledInstanceNormalization
        return kind.from_config(config)

    def call(self, layer: Any, *args: Any, **kwargs: Any) -> Any:
        if type(layer) not in _PLAIN:
            return self._record(layer, *args, **kwargs)
        (source,) = args
        rounded = self._input(layer, source)
        after = self._activation_after(layer)
        key = (id(source), type(layer))
        if key not in self._outputs:
            self._outputs[key] = self._quantize(f"{layer.name}{_OUTPUT}")
        target = self._record(self._outputs[key], self._record(layer, rounded))
        return target if after is None else self._record(keras.layers.Activation(after), target)

    def _activation_after(self, layer: Any) -> Any:
        """Takes an activation that is not fused out of a layer; each of its calls gets it."""
        if id(layer) not in self._after:
            fused = layer.get_config()["activation"] in _FUSED
            self._after[id(layer)] = None if fused else layer.activation
            if not fused:
                layer.activation = keras.activations.linear
        return self._after[id(layer)]

    def _record(self, layer: Any, *args: Any, **kwargs: Any) -> Any:
        output = layer(*args, **kwargs)
        inputs = [
            one for one in keras.tree.flatten((args, kwargs)) if keras.utils.is_keras_tensor(one)
        ]
        self._calls += [LayerCall(layer, inputs, one) for one in keras.tree.flatten(output)]
        return output

    def _input(self, layer: Any, source: Any) -> Any:
        if any(source is call.output for call in self._rounding):
            return source
        if id(source) not in self._inputs:
            quantize = self._quantize(f"{layer.name}_input_int8")
            self._inputs[id(source)] = self._record(quantize, source)
        return self._inputs[id(source)]

    def _quantize(self, name: str) -> FakeQuantize:
        self._names[name] += 1  # a layer may be called twice
        return FakeQuantize(name=name if self._names[name] == 1 else f"{name}_{self._names[name]}")

    @property
    def _rounding(self) -> list[LayerCall]:
        return [call for call in self._calls if isinstance(call.layer, FakeQuantize)]

    def fix_input_ranges(self, aware: keras.Model) -> None:
        """Gives activations with values of the network's input its range, which is known."""
        copies = {id(tensor) for tensor in aware.inputs}
        for call in self._calls:
            if isinstance(call.layer, _COPYING) and id(call.inputs[0]) in copies:
                copies.add(id(call.output))
                if isinstance(call.layer, FakeQuantize):
                    call.layer.set_range(0.0, 1.0)
                    call.layer.trainable = False

    def set_ranges(self, aware: keras.Model, photos: Sequence[FloatImage]) -> None:
        """Equalizes channels, and sets each range to that of the smallest error on photos."""
        calls = self._rounding
        for call in calls:
            call.layer.enabled = False
        observed = keras.Model(aware.input, [call.inputs[0] for call in calls])
        found: list[list[Any]] = [[] for _ in calls]
        for photo in photos:
            for values, tensor in zip(found, observed(photo[np.newaxis]), strict=True):
                values.append(_sampled(keras.ops.convert_to_numpy(tensor)[0]))
        by_layer: dict[int, list[tuple[Any, TensorStatistics]]] = {}
        for call, values in zip(calls, found, strict=True):
            by_layer.setdefault(id(call.layer), []).append((call.inputs[0], _statistics(values)))
        rounded = [Measured(*zip(*own, strict=True)) for own in by_layer.values()]
        factors = equalize_layers(self._calls, aware.outputs, rounded)
        layers = {id(call.layer): call.layer for call in calls}
        for layer, measured in zip(layers.values(), rounded, strict=True):
            layer.enabled = True
            if not layer.trainable:
                continue
            ranges = [
                one.scaled(factors[id(tensor)]).smallest_error(self._negative_weight(tensor))
                for tensor, one in zip(measured.tensors, measured.statistics, strict=True)
            ]
            layer.set_range(min(low for low, _ in ranges), max(high for _, high in ranges))

    def _negative_weight(self, tensor: Any) -> float:
        """Returns what a squared error of negative values is worth, where leaky ReLU reads them."""
        readers = [call for call in self._calls if any(one is tensor for one in call.inputs)]
        if all(isinstance(call.layer, FakeQuantize) for call in readers):
            outputs = [call.output for call in readers]
            readers = [c for c in self._calls if any(i is o for i in c.inputs for o in outputs)]
        if not readers or not all(isinstance(c.layer, keras.layers.LeakyReLU) for c in readers):
            return 1.0
        return min(1.0, max(float(call.layer.negative_slope) ** 2 for call in readers))


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
            weights = layer.get_weights()
            if isinstance(layer, InstanceNormalization):
                weights.append(np.full(len(weights[0]), layer.epsilon))
            own[layer.name].set_weights(weights)
