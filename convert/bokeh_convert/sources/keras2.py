"""Reads the `.h5` files of Keras 2 (tf.keras 2.x) through tf-keras.

Keras 3 cannot read them, because they may have TFOpLambda layers, one for each TensorFlow function
that was called on a tensor.
"""

from __future__ import annotations

from pathlib import Path

import keras
import tf_keras

from bokeh_convert.sources.config_rewrites import rewritten_config
from bokeh_convert.sources.custom_objects import load_custom_objects
from bokeh_convert.sources.float_model import FloatModel, keras_model, loading_errors
from bokeh_convert.sources.known_layers import KNOWN_LAYERS, with_registered_names
from bokeh_convert.sources.model_types import Json
from bokeh_convert.sources.options import SourceOptions
from bokeh_convert.sources.security.config import checked_config, custom_aliases
from bokeh_convert.sources.security.hdf5 import checked_copy
from bokeh_convert.sources.security.layers import KERAS_2
from bokeh_runtime.errors import InputError


def read_keras2(path: Path, config: Json, options: SourceOptions) -> FloatModel:
    """Checks the configuration of a whole model saved by Keras 2, and loads the model.

    Raises:
        InputError: If it contains code, or tf-keras cannot load it.
    """
    options.refuse_pynet_options(path)
    names = options.custom_names
    # A layer that the user gives is the user's, whatever package has one of that name.
    try:
        named = config if "InstanceNormalization" in names else with_registered_names(config)
    except RecursionError:
        named = config  # The check of the configuration says so.
    checked = named
    if not options.trust_source:
        checked = checked_config(path, named, KERAS_2, names, known=frozenset(KNOWN_LAYERS))
    # The user's module probably uses `tf.keras`, which must be Keras 2 for this file.
    objects = load_custom_objects(options.custom_objects, keras_2=True)
    for name, given in objects.items():
        if isinstance(given, type) and issubclass(given, keras.layers.Layer):
            raise InputError(
                f"{path}: was saved by Keras 2, but {name} is a Keras 3 layer; "
                "import its base class from tf_keras"
            )
    with loading_errors(path, f"tf-keras {tf_keras.__version__}"):
        rewritten = rewritten_config(path, checked, names)
        if options.trust_source:
            objects = custom_aliases(config, objects)
        known = {**KNOWN_LAYERS, **objects}
        if options.trust_source and rewritten == config:
            # tf-keras selects the format by suffix: all but .keras is opened as HDF5.
            model = tf_keras.models.load_model(path, custom_objects=known, compile=False)
        else:
            with checked_copy(path, rewritten) as copy:
                model = tf_keras.models.load_model(copy, custom_objects=known, compile=False)
    return keras_model(path, "keras2-h5", model, options)
