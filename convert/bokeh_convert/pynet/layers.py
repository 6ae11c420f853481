"""Layers of PyNET that are missing in Keras 3. They support all Keras backends.

Importing this module registers them, so that `keras.saving.load_model` finds them.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

PACKAGE = "bokeh_tflite"


@keras.saving.register_keras_serializable(package=PACKAGE)
class InstanceNormalization(keras.layers.Layer):  # type: ignore[misc]
    """Normalizes each channel of each image over its height and width.

    `(x - mean) / sqrt(variance + epsilon) * scale + shift`, with the biased variance
    (Ulyanov et al., 2016, arXiv 1607.08022). The epsilon is PyNET's.

    Args:
        epsilon: Added to the variance before the square root.

    Input and output: float [batch, height, width, channels].
    """

    def __init__(self, epsilon: float = 1e-3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        channels = (input_shape[-1],)
        # Shift before scale, as in the checkpoints of the PyNET authors.
        self.shift = self.add_weight(shape=channels, initializer="zeros", name="shift")
        self.scale = self.add_weight(shape=channels, initializer="ones", name="scale")

    def call(self, inputs: Any) -> Any:
        mean = ops.mean(inputs, axis=(1, 2), keepdims=True)
        centred = inputs - mean
        variance = ops.mean(ops.square(centred), axis=(1, 2), keepdims=True)
        return centred * (ops.rsqrt(variance + self.added()) * self.scale) + self.shift

    def added(self) -> Any:
        """Returns what is added to the variance."""
        return self.epsilon

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "epsilon": self.epsilon}


@keras.saving.register_keras_serializable(package=PACKAGE)
class SpaceToDepth(keras.layers.Layer):  # type: ignore[misc]
    """Moves each `block` x `block` square of pixels into the channel dimension.

    The order of channels is TensorFlow's (`tf.nn.space_to_depth`): row, column, channel.

    Args:
        block: Side of a square, in pixels.

    Input: [batch, height, width, channels], height and width multiples of `block`.
    Output: [batch, height / block, width / block, block * block * channels].
    """

    def __init__(self, block: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.block = block

    def call(self, inputs: Any) -> Any:
        if keras.backend.backend() == "tensorflow":
            # Converted to one SPACE_TO_DEPTH operator. The general form below would become a
            # six-dimensional TRANSPOSE, which GPU delegates do not support.
            import tensorflow as tf

            return tf.nn.space_to_depth(inputs, self.block)
        block = self.block
        _, height, width, channels = inputs.shape
        squares = ops.reshape(inputs, (-1, height // block, block, width // block, block, channels))
        squares = ops.transpose(squares, (0, 1, 3, 2, 4, 5))
        return ops.reshape(squares, (-1, height // block, width // block, block**2 * channels))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        batch, height, width, channels = input_shape
        block = self.block
        return (
            batch,
            None if height is None else height // block,
            None if width is None else width // block,
            None if channels is None else channels * block**2,
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "block": self.block}


@keras.saving.register_keras_serializable(package=PACKAGE)
class FirstChannels(keras.layers.Layer):  # type: ignore[misc]
    """Keeps the first channels, such as RGB of RGB + depth.

    The operation that slicing a Keras tensor adds to a model cannot be read from an `.h5` file.

    Args:
        count: Number of channels to keep.

    Input: [batch, height, width, channels]. Output: [batch, height, width, count].
    """

    def __init__(self, count: int = 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.count = count

    def call(self, inputs: Any) -> Any:
        return inputs[..., : self.count]

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.count)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "count": self.count}
