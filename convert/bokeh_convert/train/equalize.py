"""Equalizes the ranges of channels in a Keras model, before it is trained to round.

Training cannot find this: one channel with ten times the range of the others takes most levels of
its tensor, and small steps do not change that. The same is done to files without trained ranges;
see `bokeh_convert.passes.equalize_channels`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from bokeh_convert.passes.channel_factors import (
    ChannelClasses,
    RoundedTensor,
    Vector,
    smallest_error_logarithms,
)
from bokeh_convert.pynet.int8_aware import FakeQuantize, ScaledInstanceNormalization
from bokeh_convert.quantize.activation_statistics import TensorStatistics

_CONVOLUTIONS = (
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.Conv2DTranspose,
)
_HOMOGENEOUS = (
    FakeQuantize,
    keras.layers.AveragePooling2D,
    keras.layers.LeakyReLU,
    keras.layers.MaxPooling2D,
    keras.layers.UpSampling2D,
    keras.layers.ZeroPadding2D,
)
_HOMOGENEOUS_FUNCTIONS = ("linear", "relu", "leaky_relu")


@dataclass(frozen=True)
class LayerCall:
    """A call of a layer while a model is built.

    Attributes:
        layer: The layer.
        inputs: Its inputs, symbolic tensors.
        output: Its output.
    """

    layer: Any
    inputs: Sequence[Any]
    output: Any


@dataclass(frozen=True)
class Measured:
    """Activations that are rounded with one scale.

    Attributes:
        tensors: The symbolic tensors.
        statistics: Of each.
    """

    tensors: Sequence[Any]
    statistics: Sequence[TensorStatistics]


def equalize_layers(
    calls: Sequence[LayerCall], outputs: Sequence[Any], rounded: Sequence[Measured]
) -> Mapping[int, Vector]:
    """Multiplies channels by factors, in the weights of the layers; the model computes the same.

    Args:
        calls: All calls of layers of the model, in order.
        outputs: Its outputs, which stay as they are, like its input.
        rounded: What will be rounded.

    Returns:
        The factor of each channel, float64 [channels], by the `id` of the tensor.
    """
    network = _Network(calls, outputs)
    solved = smallest_error_logarithms([network.rounded(one) for one in rounded], network.count)
    network.keep_epsilons(solved)
    factors = {tensor: np.exp(solved[network.roots(tensor)]) for tensor in network.tensors}
    for call in calls:
        _scale(call, factors)
    return factors


class _Network(ChannelClasses):
    """The classes of the tensors of a model, which are known by their `id`."""

    def __init__(self, calls: Sequence[LayerCall], outputs: Sequence[Any]) -> None:
        tensors = [tensor for call in calls for tensor in (*call.inputs, call.output)]
        channels = {id(tensor): int(tensor.shape[-1]) for tensor in tensors}
        super().__init__(channels.__getitem__)
        self._readers: dict[int, list[LayerCall]] = {}
        self._normalized: list[int] = []
        uses = Counter(id(call.layer) for call in calls)
        made = {id(call.output) for call in calls}
        for call in calls:
            for tensor in call.inputs:
                self._readers.setdefault(id(tensor), []).append(call)
            shared = uses[id(call.layer)] > 1 and call.layer.weights
            if shared and not isinstance(call.layer, FakeQuantize):
                self.pin(*map(id, call.inputs), id(call.output))
            else:
                self._connect(call)
        self.pin(*map(id, outputs), *(tensor for tensor in channels if tensor not in made))

    def rounded(self, measured: Measured) -> RoundedTensor:
        """Returns what the solver has to know of activations with one scale."""
        return RoundedTensor(
            np.concatenate([self.roots(id(tensor)) for tensor in measured.tensors]),
            np.concatenate([one.largest for one in measured.statistics]),
            np.concatenate(
                [
                    _floored(self._importance(tensor, one.variance))
                    for tensor, one in zip(measured.tensors, measured.statistics, strict=True)
                ]
            ),
        )

    def keep_epsilons(self, logarithms: Vector) -> None:
        """Scales all channels of what normalizations read so that no epsilon becomes smaller.

        A smaller one might vanish in float16. The rounding does not depend on a common factor.
        """
        classes = [self.roots(tensor) for tensor in self.tensors]
        for source in self._normalized:
            own = self.roots(source)
            with_one = [other for other in classes if np.isin(other, own).any()]
            if self.PINNED not in own and all(np.array_equal(other, own) for other in with_one):
                logarithms[own] -= logarithms[own].min()

    def _connect(self, call: LayerCall) -> None:
        inputs, output = [id(tensor) for tensor in call.inputs], id(call.output)
        self.add(*inputs, output)
        if absorbs(call.layer):
            if isinstance(call.layer, ScaledInstanceNormalization):
                self._normalized += inputs
            return
        if _is_concatenation(call.layer):
            self.tie_all(inputs, output)
        elif _is_homogeneous(call.layer) and all(
            tensor.shape[-1] == call.output.shape[-1] for tensor in call.inputs
        ):
            for tensor in inputs:
                self.tie(tensor, output)
        else:
            self.pin(*inputs, output)

    def _importance(self, tensor: Any, variance: Vector) -> Vector:
        """Returns what a squared error in each channel is worth to the layers that read it."""
        worth = np.zeros(tensor.shape[-1])
        for call in self._readers.get(id(tensor), []):
            layer = call.layer
            if isinstance(layer, _CONVOLUTIONS) and absorbs(layer):
                worth += _squares(layer)
            elif isinstance(layer, ScaledInstanceNormalization):
                worth += 1 / np.maximum(variance, 1e-12 + 1e-8 * variance.max())
            elif _is_concatenation(layer):
                begin = 0
                for other in call.inputs:
                    end = begin + other.shape[-1]
                    if other is tensor:
                        scales = np.ones(call.output.shape[-1])
                        scales[begin:end] = variance
                        worth += self._importance(call.output, scales)[begin:end]
                    begin = end
            elif _is_homogeneous(layer):
                worth += self._importance(call.output, variance)
            else:
                worth += 1
        return worth if worth.any() else np.ones_like(worth)


def absorbs(layer: Any) -> bool:
    """Whether the weights of a layer can absorb factors of its input and output."""
    if isinstance(layer, ScaledInstanceNormalization):
        return True
    return bool(
        isinstance(layer, _CONVOLUTIONS)
        and getattr(layer, "groups", 1) in (1, None)
        and layer.data_format == "channels_last"
        and _function(layer) in ("linear", "relu")
    )


def _function(layer: Any) -> str:
    return str(keras.activations.serialize(layer.activation))


def _is_concatenation(layer: Any) -> bool:
    return isinstance(layer, keras.layers.Concatenate) and layer.axis in (-1, 3)


def _is_homogeneous(layer: Any) -> bool:
    if isinstance(layer, keras.layers.Activation):
        return _function(layer) in _HOMOGENEOUS_FUNCTIONS
    if isinstance(layer, keras.layers.ReLU):
        return layer.max_value is None and not layer.threshold
    return isinstance(layer, (*_HOMOGENEOUS, keras.layers.Add))


def _floored(weights: Vector) -> Vector:
    return np.asarray(np.maximum(weights, 1e-12 + 1e-8 * weights.max()))


def _squares(layer: Any) -> Vector:
    """Returns the sum of the squared weights that read each input channel."""
    kernel: Vector = np.square(np.asarray(layer.get_weights()[0], np.float64))
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return np.asarray(kernel.sum(axis=(0, 1, 3)))
    transposed = isinstance(layer, keras.layers.Conv2DTranspose)
    return np.asarray(kernel.sum(axis=(0, 1, 2) if transposed else (0, 1, 3)))


def _scale(call: LayerCall, factors: Mapping[int, Vector]) -> None:
    if not absorbs(call.layer):
        return
    before, after = factors[id(call.inputs[0])], factors[id(call.output)]
    if np.all(before == 1) and np.all(after == 1):
        return
    if isinstance(call.layer, ScaledInstanceNormalization):
        shift, scale, epsilons = call.layer.get_weights()
        call.layer.set_weights([shift * after, scale * after, epsilons * before**2])
        return
    kernel, *bias = call.layer.get_weights()
    if isinstance(call.layer, keras.layers.DepthwiseConv2D):
        by = after.reshape(len(before), -1) / before[:, np.newaxis]
    elif isinstance(call.layer, keras.layers.Conv2DTranspose):
        by = after[:, np.newaxis] / before
    else:
        by = after / before[:, np.newaxis]
    call.layer.set_weights([kernel * by, *[one * after for one in bias]])
