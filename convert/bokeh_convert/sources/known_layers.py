"""Layers of other packages that Keras 2 files often hold, for files that are opened without them.

A name alone does not tell whose layer it is: several packages have an `InstanceNormalization`, and
they differ in where epsilon is added and in what is averaged. So a layer is taken for a known one
by its registered name, or by a configuration that only that package writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tensorflow as tf
import tf_keras

from bokeh_convert.sources.model_types import Json, Tensor


class _InstanceNormalization(tf_keras.layers.Layer):  # type: ignore[misc]
    """What the layers have in common: arguments as in the files, and two weights.

    Arguments that only matter in training are accepted and ignored.

    Input and output: float [batch, height, width, channels].
    """

    default_axis: int | None = -1

    def __init__(
        self,
        axis: int | str | None = "default",
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        *,
        name: str | None = None,
        dtype: object = None,
        **_training_only: object,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.axis = self.default_axis if axis == "default" else axis
        if self.axis not in (self.default_axis, -1, 3):
            raise ValueError(f"InstanceNormalization over axis {axis}; only channels-last is known")
        self.epsilon = epsilon
        self.center = center
        self.scale = scale

    def build(self, input_shape: Sequence[int]) -> None:
        shape = (1,) if self.axis is None else (input_shape[-1],)
        # Gamma before beta: the order in which both packages store them.
        if self.scale:
            self.gamma = self.add_weight(name="gamma", shape=shape, initializer="ones")
        if self.center:
            self.beta = self.add_weight(name="beta", shape=shape, initializer="zeros")
        super().build(input_shape)


class AddonsInstanceNormalization(_InstanceNormalization):
    """TensorFlow Addons' InstanceNormalization; Addons does not support current TensorFlow.

    Normalizes each channel of each image over height and width.
    """

    def call(self, inputs: Tensor) -> Tensor:
        mean, variance = tf.nn.moments(inputs, [1, 2], keepdims=True)
        normalized: Tensor = tf.nn.batch_normalization(
            inputs,
            mean,
            variance,
            self.beta if self.center else None,
            self.gamma if self.scale else None,
            self.epsilon,
        )
        return normalized


class ContribInstanceNormalization(_InstanceNormalization):
    """keras-contrib's InstanceNormalization.

    It differs from the paper's (Ulyanov et al., 2016, arXiv 1607.08022) in two points: epsilon is
    added to the standard deviation, not to the variance, and with axis None, its default, the mean
    is over the channels too.
    """

    default_axis = None

    def call(self, inputs: Tensor) -> Tensor:
        axes = [1, 2, 3] if self.axis is None else [1, 2]
        mean, variance = tf.nn.moments(inputs, axes, keepdims=True)
        normalized = (inputs - mean) / (tf.sqrt(variance) + self.epsilon)
        if self.scale:
            normalized = normalized * self.gamma
        shifted: Tensor = normalized + self.beta if self.center else normalized
        return shifted


ADDONS = "Addons>InstanceNormalization"
CONTRIB = "bokeh_tflite>ContribInstanceNormalization"
"""Stands in a rewritten configuration for a layer that was recognized by its configuration."""
KNOWN_LAYERS: Mapping[str, type] = {
    ADDONS: AddonsInstanceNormalization,
    CONTRIB: ContribInstanceNormalization,
}
_ANY_LAYER = frozenset({"name", "trainable", "dtype", "batch_input_shape"})
_CONTRIB = frozenset(
    {"axis", "epsilon", "center", "scale"}
    | {
        f"{weight}_{role}"
        for weight in ("beta", "gamma")
        for role in ("initializer", "regularizer", "constraint")
    }
)


def with_registered_names(config: Json) -> Json:
    """Returns a configuration in which layers that are known by their configuration have a name.

    keras-contrib does not register its layers, and Addons' first versions did not: their files
    hold the name of the class alone.
    """
    if isinstance(config, list):
        return [with_registered_names(item) for item in config]
    if not isinstance(config, dict):
        return config
    found = {key: with_registered_names(item) for key, item in config.items()}
    if found.get("class_name") == "InstanceNormalization" and not found.get("registered_name"):
        own = found.get("config")
        keys = frozenset(own) - _ANY_LAYER if isinstance(own, dict) else frozenset()
        if keys == _CONTRIB:
            found["class_name"] = CONTRIB
        elif keys == _CONTRIB | {"groups"}:
            found["class_name"] = ADDONS
    return found
