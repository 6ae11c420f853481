"""Layers that round as static int8 will, so that a network can be trained to bear it.

Weights are rounded per output channel and activations per tensor, as
`bokeh_convert.quantize.static_int8` does. The ranges of activations are trained with the weights
(Esser et al., 2020, "Learned step size quantization"). A gradient passes a rounding unchanged.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from bokeh_convert.pynet.layers import PACKAGE, InstanceNormalization

_LEVELS = 255
_WEIGHT_LEVELS = 127
_RANGE_SPEED = 30.0
"""How much faster than a weight the logarithm of a range changes."""


@keras.saving.register_keras_serializable(package=PACKAGE)
class FakeQuantize(keras.layers.Layer):  # type: ignore[misc]
    """Rounds an activation to the 256 values that int8 has in a range; 0 is one of them.

    The .tflite converter writes it as QUANTIZE and DEQUANTIZE, from which `bokeh-convert` takes the
    range.

    Attributes:
        enabled: Whether to do anything. False to measure what comes in.
        rounds: Whether to round. False clips alone, as a file in float does.

    Input and output: float, of any shape.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.enabled = self.rounds = True

    def build(self, input_shape: tuple[int | None, ...]) -> None:  # noqa: ARG002  (of Keras)
        self.initial_low = self.add_weight(
            shape=(), initializer=keras.initializers.Constant(-1.0), trainable=False, name="low"
        )
        self.initial_high = self.add_weight(
            shape=(), initializer=keras.initializers.Constant(1.0), trainable=False, name="high"
        )
        self.low_change = self.add_weight(shape=(), initializer="zeros", name="low_change")
        self.high_change = self.add_weight(shape=(), initializer="zeros", name="high_change")

    def set_range(self, low: float, high: float) -> None:
        """Sets the range from which training starts; 0 will be in it."""
        self.initial_low.assign(min(low, 0.0))
        self.initial_high.assign(max(high, 0.0))
        self.low_change.assign(0.0)
        self.high_change.assign(0.0)

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not self.enabled:
            return inputs
        low = self.initial_low * ops.exp(_RANGE_SPEED * self.low_change)
        high = self.initial_high * ops.exp(_RANGE_SPEED * self.high_change)
        if keras.backend.backend() == "tensorflow" and self.rounds and not training:
            import tensorflow as tf

            return tf.quantization.fake_quant_with_min_max_vars(inputs, low, high)
        scale = ops.maximum(high - low, 1e-9) / _LEVELS
        zero = _rounded(-low / scale)
        steps = inputs / scale
        return ops.clip(_rounded(steps) if self.rounds else steps, -zero, _LEVELS - zero) * scale


@keras.saving.register_keras_serializable(package=PACKAGE)
class ScaledInstanceNormalization(InstanceNormalization):
    """Instance norm of channels that were multiplied by factors: each has its own epsilon.

    Input and output: float [batch, height, width, channels].
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        super().build(input_shape)
        start = keras.initializers.Constant(self.epsilon)
        self.epsilons = self.add_weight(
            shape=(input_shape[-1],), initializer=start, trainable=False, name="epsilons"
        )

    def added(self) -> Any:
        return self.epsilons


class RoundedConv2D(keras.layers.Conv2D):  # type: ignore[misc]
    """A convolution with int8 weights."""

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        return super().convolution_op(inputs, _rounded_kernel(kernel, output_axes=(3,)))


class RoundedDepthwiseConv2D(keras.layers.DepthwiseConv2D):  # type: ignore[misc]
    """A depthwise convolution with int8 weights."""

    def call(self, inputs: Any) -> Any:
        outputs = ops.depthwise_conv(
            inputs,
            _rounded_kernel(self.kernel, output_axes=(2, 3)),
            strides=self.strides,
            padding=self.padding,
            dilation_rate=self.dilation_rate,
            data_format=self.data_format,
        )
        return _with_bias_and_activation(self, outputs)


class RoundedConv2DTranspose(keras.layers.Conv2DTranspose):  # type: ignore[misc]
    """A transposed convolution with int8 weights."""

    def call(self, inputs: Any) -> Any:
        outputs = ops.conv_transpose(
            inputs,
            _rounded_kernel(self.kernel, output_axes=(2,)),
            strides=list(self.strides),
            padding=self.padding,
            output_padding=self.output_padding,
            dilation_rate=self.dilation_rate,
            data_format=self.data_format,
        )
        return _with_bias_and_activation(self, outputs)


def _rounded_kernel(kernel: Any, output_axes: tuple[int, ...]) -> Any:
    """Returns a kernel with 255 values per output channel."""
    others = tuple(axis for axis in range(4) if axis not in output_axes)
    largest = ops.stop_gradient(ops.max(ops.abs(kernel), axis=others, keepdims=True))
    scale = ops.maximum(largest, 1e-12) / _WEIGHT_LEVELS
    return _rounded(kernel / scale) * scale


def _with_bias_and_activation(layer: Any, outputs: Any) -> Any:
    if layer.use_bias:
        last = layer.data_format == "channels_last"
        outputs += ops.reshape(layer.bias, (1, 1, 1, -1) if last else (1, -1, 1, 1))
    return outputs if layer.activation is None else layer.activation(outputs)


def _rounded(values: Any) -> Any:
    return values + ops.stop_gradient(ops.round(values) - values)
