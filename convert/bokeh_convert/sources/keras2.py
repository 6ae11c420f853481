"""Reads the `.h5` files of Keras 2 (tf.keras 2.x) through tf-keras.

Keras 3 cannot read them, because they may have TFOpLambda layers, one for each TensorFlow function
that was called on a tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf
import tf_keras

from bokeh_convert.process_state import default_environment
from bokeh_convert.sources.float_model import FloatModel, keras_model, loading_errors
from bokeh_convert.sources.model_types import Json, Tensor
from bokeh_convert.sources.options import SourceOptions
from bokeh_convert.sources.security.config import checked_config, custom_aliases
from bokeh_convert.sources.security.hdf5 import checked_copy
from bokeh_convert.sources.security.layers import KERAS_2
from bokeh_runtime.errors import InputError


class AddonsInstanceNormalization(tf_keras.layers.Layer):  # type: ignore[misc]
    """TensorFlow Addons' InstanceNormalization; Addons does not support current TensorFlow.

    Normalizes each channel of each image over height and width. The arguments have the names in
    the files that Addons wrote; those that only matter in training are accepted and ignored.

    Input and output: float [batch, height, width, channels].
    """

    def __init__(
        self,
        axis: int = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        *,
        name: str | None = None,
        dtype: object = None,
        **_training_only: object,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        if axis not in (-1, 3):
            raise ValueError(
                f"InstanceNormalization over axis {axis}; only channels-last is supported"
            )
        self.epsilon = epsilon
        self.center = center
        self.scale = scale

    def build(self, input_shape: Sequence[int | None]) -> None:
        channels = (input_shape[-1],)
        # Gamma before beta: the order in which Addons stored them.
        if self.scale:
            self.gamma = self.add_weight(name="gamma", shape=channels, initializer="ones")
        if self.center:
            self.beta = self.add_weight(name="beta", shape=channels, initializer="zeros")
        super().build(input_shape)

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


KNOWN_LAYERS = {
    "Addons>InstanceNormalization": AddonsInstanceNormalization,
    "InstanceNormalization": AddonsInstanceNormalization,
}


def read_keras2(path: Path, config: Json, options: SourceOptions) -> FloatModel:
    """Checks the configuration of a whole model saved by Keras 2, and loads the model.

    Raises:
        InputError: If it contains code, or tf-keras cannot load it.
    """
    options.refuse_pynet_options(path)
    checked = None
    if not options.trust_source:
        names = options.custom_names | frozenset(KNOWN_LAYERS)
        checked = checked_config(path, config, KERAS_2, names)
    # The user's module probably uses `tf.keras`, which must be Keras 2 for this file. TensorFlow
    # decides that once per process, at the first use of `tf.keras`.
    with default_environment(TF_USE_LEGACY_KERAS="1"):
        objects = options.load_custom_objects()
    for name, given in objects.items():
        if isinstance(given, type) and issubclass(given, keras.layers.Layer):
            raise InputError(
                f"{path}: was saved by Keras 2, but {name} is a Keras 3 layer; "
                "import its base class from tf_keras"
            )
    with loading_errors(path, f"tf-keras {tf_keras.__version__}"):
        if checked is None:
            known = {**KNOWN_LAYERS, **custom_aliases(config, objects)}
            # tf-keras selects the format by suffix: all but .keras is opened as HDF5.
            model = tf_keras.models.load_model(path, custom_objects=known, compile=False)
        else:
            with checked_copy(path, checked) as copy:
                known = {**KNOWN_LAYERS, **objects}
                model = tf_keras.models.load_model(copy, custom_objects=known, compile=False)
    return keras_model(path, "keras2-h5", model, options)
