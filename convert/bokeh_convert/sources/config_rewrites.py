"""Rewrites of a Keras model's configuration that leave its function as it is on float32.

They are made before the model is built, because a built layer keeps its types and its layout.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from bokeh_convert.sources.model_types import Json, JsonObject
from bokeh_runtime.errors import InputError

_HALF = ("mixed_float16", "mixed_bfloat16", "float16", "bfloat16")
_POLICIES = ("Policy", "DTypePolicy", "PolicyV1")

# Layers that treat each value or each channel alike, whatever the layout.
_ANY_LAYOUT = frozenset(
    """
    Activation Add Average Dropout ELU GaussianNoise Identity LeakyReLU Maximum Minimum Multiply
    ReLU Rescaling SpatialDropout2D Subtract ThresholdedReLU
    """.split()  # noqa: SIM905
)
# Layers that say in their own configuration where the channels are.
_SAYS_LAYOUT = frozenset(
    """
    AveragePooling2D Conv2D Conv2DTranspose Cropping2D DepthwiseConv2D GlobalAveragePooling2D
    GlobalMaxPooling2D MaxPooling2D SeparableConv2D UpSampling2D ZeroPadding2D
    """.split()  # noqa: SIM905
)
_SAYS_AXIS = frozenset(
    "BatchNormalization Concatenate GroupNormalization InstanceNormalization Softmax".split()  # noqa: SIM905
)
# Activations over the last axis, which is another one after the rewrite. Of the user's own nothing
# is known.
_ALONG_THE_LAST_AXIS = ("softmax", "log_softmax", "glu", "sparsemax")
_MODELS = frozenset({"Functional", "Model", "Sequential"})
_LAST = {-3: 3, 1: 3, -2: 1, 2: 1, -1: 2, 3: 2}  # [n, c, h, w] -> [n, h, w, c]


def rewritten_config(path: Path, config: Json, custom: Collection[str] = frozenset()) -> JsonObject:
    """Returns a model's configuration in float32 and with the channels last.

    Args:
        path: The file, for error messages.
        config: The configuration.
        custom: Names of the user's own classes, of which nothing is known.

    Raises:
        InputError: If the network takes channels first, and a layer cannot be turned.
    """
    found = in_float32(config)
    if not isinstance(found, dict):
        raise InputError(f"{path}: holds no model's configuration; save it with model.save()")
    return channels_last(path, found, custom) if takes_channels_first(found) else found


def in_float32(config: Json) -> Json:
    """Returns a configuration whose layers compute in float32.

    Mixed precision is for training: its weights are float32, and a converter lowers float16
    operators to nothing that a delegate takes. A float16 file is made from float32 anyway.
    """
    if isinstance(config, list):
        return [in_float32(item) for item in config]
    if not isinstance(config, dict):
        return config
    return {
        key: _float32(item) if key in ("dtype", "DstT", "dtype_policy") else in_float32(item)
        for key, item in config.items()
    }


def _float32(dtype: Json) -> Json:
    if dtype in _HALF:
        return "float32"
    if isinstance(dtype, dict) and dtype.get("class_name") in _POLICIES:
        own = dtype.get("config")
        if isinstance(own, dict) and own.get("name") in _HALF:
            return {**dtype, "config": {**own, "name": "float32"}}
    return in_float32(dtype)


def takes_channels_first(config: Json) -> bool:
    """Whether any layer is configured for channels before height and width."""
    if isinstance(config, list):
        return any(map(takes_channels_first, config))
    if not isinstance(config, dict):
        return False
    if config.get("data_format") == "channels_first":
        return True
    return any(map(takes_channels_first, config.values()))


def channels_last(
    path: Path, config: JsonObject, custom: Collection[str] = frozenset()
) -> JsonObject:
    """Returns a channels-first network's configuration with the channels last.

    Filters are stored alike for both layouts, so that the weights fit as they are. TensorFlow
    computes channels-first convolutions on GPUs alone, and no TFLite kernel does.

    Raises:
        InputError: If a layer depends on the layout in a way that its configuration does not say.
    """
    kind, own = config.get("class_name"), config.get("config")
    if not isinstance(own, dict):
        return config
    inner = own.get("layers")
    if kind in _MODELS and isinstance(inner, list):
        layers: list[Json] = [
            channels_last(path, layer, custom) if isinstance(layer, dict) else layer
            for layer in inner
        ]
        rewritten: JsonObject = {**own, "layers": layers}
        if "build_input_shape" in own:
            rewritten["build_input_shape"] = _turned(own["build_input_shape"])
        return _without_shapes({**config, "config": rewritten})
    if kind == "InputLayer":
        shapes: JsonObject = {
            key: _turned(own[key]) for key in ("batch_input_shape", "batch_shape") if key in own
        }
        return _without_shapes({**config, "config": {**own, **shapes}})
    if kind in custom or not _is_elementwise(own.get("activation"), custom):
        raise _cannot_be_turned(path, config)
    if kind in _SAYS_LAYOUT:
        shape = {key: _turned(own[key]) for key in ("batch_input_shape",) if key in own}
        turned = {**own, **shape, "data_format": "channels_last"}
        return _without_shapes({**config, "config": turned})
    if kind in _SAYS_AXIS:
        return _without_shapes({**config, "config": {**own, "axis": _axis(own.get("axis", -1))}})
    if kind in _ANY_LAYOUT:
        return _without_shapes(config)
    raise _cannot_be_turned(path, config)


def _is_elementwise(activation: Json, custom: Collection[str]) -> bool:
    """Whether an activation, a name or the configuration of a layer, treats all values alike."""
    if not isinstance(activation, dict):
        name = str(activation).rpartition(">")[2]  # after the package that registered it
        return name not in _ALONG_THE_LAST_AXIS and name not in custom
    kind, own = activation.get("class_name"), activation.get("config")
    if kind == "function":
        return _is_elementwise(own, custom)
    if kind not in _ANY_LAYOUT or kind in custom:
        return False
    return not isinstance(own, dict) or _is_elementwise(own.get("activation"), custom)


def _cannot_be_turned(path: Path, config: JsonObject) -> InputError:
    kind, own = config.get("class_name"), config.get("config")
    name = own.get("name", kind) if isinstance(own, dict) else kind
    return InputError(
        f"{path}: takes channels first, and its layer {name} ({kind}) cannot be turned to "
        "channels last; build the network with data_format='channels_last' and load the weights "
        "into it"
    )


def _axis(axis: Json) -> Json:
    if isinstance(axis, list):
        return [_axis(one) for one in axis]
    return _LAST.get(axis, axis) if isinstance(axis, int) else axis


def _turned(shape: Json) -> Json:
    if isinstance(shape, list) and len(shape) == 4:
        return [shape[0], shape[2], shape[3], shape[1]]
    return shape


def _without_shapes(layer: JsonObject) -> JsonObject:
    """Leaves out the shapes that Keras 3 stores for building; it finds them anew."""
    return {key: value for key, value in layer.items() if key != "build_config"}
