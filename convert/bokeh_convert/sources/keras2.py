"""Reads the `.h5` files of Keras 2 (tf.keras 2.x) through tf-keras.

Keras 3 cannot: such files hold TFOpLambda layers, one for each TensorFlow function that the
author called on a tensor.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import tf_keras

from bokeh_convert.sources.config_rewrites import rewritten
from bokeh_convert.sources.custom_objects import load_custom_objects
from bokeh_convert.sources.float_model import FloatModel, keras_model, refusing
from bokeh_convert.sources.known_layers import KNOWN_LAYERS, with_registered_names
from bokeh_convert.sources.options import SourceOptions
from bokeh_convert.sources.security.config import checked_config, custom_aliases
from bokeh_convert.sources.security.hdf5 import checked_copy
from bokeh_convert.sources.security.layers import KERAS_2
from bokeh_runtime.errors import InputError


def read_keras2(path: Path, config: Any, options: SourceOptions) -> FloatModel:
    """Loads a whole model saved by Keras 2, after a look at its configuration.

    Raises:
        InputError: If it carries code, or tf-keras cannot load it.
    """
    options.refuse_pynet_options(path)
    checked = config
    if not options.trust_source:
        given = options.custom_names
        # A layer that the user gives is the user's, whatever package has one of that name.
        named = config if "InstanceNormalization" in given else with_registered_names(config)
        checked = checked_config(path, named, KERAS_2, given, known=frozenset(KNOWN_LAYERS))
    # The user's module most likely says `tf.keras`, which must mean Keras 2 to fit this file.
    objects = load_custom_objects(options.custom_objects, keras_2=True)
    for name, given in objects.items():
        if isinstance(given, type) and issubclass(given, keras.layers.Layer):
            raise InputError(
                f"{path}: was saved by Keras 2, and {name} is a layer of Keras 3; "
                "import its base class from tf_keras"
            )
    with refusing(path, f"tf-keras {tf_keras.__version__}"):
        wanted = rewritten(path, checked)
        if options.trust_source:
            objects = custom_aliases(config, objects)
        known = {**KNOWN_LAYERS, **objects}
        if options.trust_source and wanted == config:
            # tf-keras goes by the suffix: anything but .keras is opened as HDF5 here.
            model = tf_keras.models.load_model(path, custom_objects=known, compile=False)
        else:
            with checked_copy(path, wanted) as copy:
                model = tf_keras.models.load_model(copy, custom_objects=known, compile=False)
    return keras_model(path, "keras2-h5", model, options)
