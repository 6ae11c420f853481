"""Reads weights files into our PyNET: `.weights.h5` of Keras 3, and the older `.h5` layout."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import keras
import numpy as np
import numpy.typing as npt

from bokeh_convert.pynet.network import HEADS, pynet_in_order
from bokeh_convert.sources.float_model import FloatModel, keras_model, loading_errors
from bokeh_convert.sources.model_types import KerasLayer
from bokeh_convert.sources.options import SourceOptions
from bokeh_runtime.errors import Argument, InputError

Arrays = list[npt.NDArray[np.float32]]


def read_weights(path: Path, options: SourceOptions) -> FloatModel:
    """Builds our PyNET as the options say, and loads its weights from an `.h5` file.

    The heads that the weights were saved with are inferred from the layers in the file.

    Raises:
        InputError: If the weights do not fit; the message names the first layer that differs.
    """
    with loading_errors(path, "the HDF5 reader"), h5py.File(path, "r") as file:
        if "layers" in file:
            model = _from_numbered(path, _numbered_layers(file["layers"]), options)
        else:
            group = file.get("model_weights", file)
            if "layer_names" not in group.attrs:
                raise InputError(
                    f"{path}: has neither a model nor weights of Keras; save it with Keras"
                )
            model = _from_named(path, _named_layers(group), options)
    return keras_model(path, "weights-h5", model, options)


def build(
    path: Path, heads: Sequence[str], options: SourceOptions
) -> tuple[keras.Model, list[KerasLayer]]:
    """Builds the PyNET that the options describe; by default, the PyNET authors'.

    Returns:
        The model, and its layers with variables in the authors' order.

    Raises:
        InputError: If the options are invalid.
    """
    try:
        return pynet_in_order(
            width=1.0 if options.width is None else options.width,
            input_channels=4 if options.input_channels is None else options.input_channels,
            heads=heads,
            residual=bool(options.residual),
        )
    except ValueError as error:
        raise InputError(
            f"{path}: {error}",
            remedy=("check ", Argument("width"), " and ", Argument("input_channels")),
        ) from error


def fill(
    path: Path, layer: KerasLayer, arrays: Sequence[npt.NDArray[np.number]], options: SourceOptions
) -> None:
    """Sets the variables of a layer.

    Raises:
        InputError: If the shapes differ.
    """
    stored = [tuple(array.shape) for array in arrays]
    expected = [tuple(weight.shape) for weight in layer.weights]
    if stored != expected:
        raise _mismatch(path, layer.name, stored, expected, options)
    layer.set_weights([np.asarray(array, np.float32) for array in arrays])


def _mismatch(
    path: Path, layer: str, stored: object, expected: object, options: SourceOptions
) -> InputError:
    width = 1.0 if options.width is None else options.width
    channels = 4 if options.input_channels is None else options.input_channels
    return InputError(
        f"{path}: {layer} has the shapes {stored}; in a PyNET with ", Argument("width", width),
        " and ", Argument("input_channels", channels), f" it has {expected}; "
        "give the values with which the model was trained",
    )  # fmt: skip


def _from_numbered(
    path: Path, groups: Mapping[str, list[Arrays]], options: SourceOptions
) -> keras.Model:
    """Loads layers that are identified by class and number, as Keras 3 stores them."""
    counts = {kind: len(layers) for kind, layers in groups.items()}
    whole, _ = build(path, HEADS, options)
    outputs = dict(zip(HEADS, whole.outputs, strict=True))
    for head in (options.level or "l_up", *HEADS, None):
        # The layers of one head are those of `pynet(heads=[head])`, without building them again.
        model = whole if head is None else keras.Model(whole.inputs[0], outputs[head], name="pynet")
        layers = [
            layer for layer in model.layers if layer.weights
        ]  # in the order in which Keras numbers them
        kinds = Counter(_kind(layer) for layer in layers)
        if kinds == counts:
            break
    else:
        raise InputError(
            f"{path}: has {_listed(counts)}, which is not a PyNET with one head or all seven; "
            "save the whole model with model.save()"
        )
    position: Counter[str] = Counter()
    for layer in layers:
        kind = _kind(layer)
        fill(path, layer, groups[kind][position[kind]], options)
        position[kind] += 1
    return model


def _from_named(path: Path, named: Mapping[str, Arrays], options: SourceOptions) -> keras.Model:
    """Loads layers that are identified by their names in our PyNET."""
    heads = [head for head in HEADS if f"out_{head}_conv" in named]
    # Head l_up also needs the convolution of head l0, so both are found in a model with l_up.
    model, layers = build(path, heads or ("l_up",), options)
    for layer in layers:
        if layer.name not in named:
            raise InputError(
                f"{path}: has no layer {layer.name} of bokeh_convert.pynet.network; "
                "save the whole model with model.save()"
            )
        fill(path, layer, named[layer.name], options)
    return model


def _kind(layer: KerasLayer) -> str:
    """Returns the class of a layer as Keras 3 names it in weights files: conv2d for Conv2D."""
    words = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", type(layer).__name__)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", words).lower()


def _numbered_layers(group: h5py.Group) -> dict[str, list[Arrays]]:
    """Returns the arrays of each layer by class: conv2d, conv2d_1, ... are of the class conv2d."""
    found: dict[str, dict[int, Arrays]] = {}
    for name, layer in group.items():
        stored = layer.get("vars", {})
        if len(stored):
            kind, number = re.fullmatch(r"(.*?)(?:_(\d+))?", name).groups()  # type: ignore[union-attr]
            arrays = [stored[key][()] for key in sorted(stored, key=int)]
            found.setdefault(kind, {})[int(number or 0)] = arrays
    return {kind: [layers[i] for i in sorted(layers)] for kind, layers in found.items()}


def _named_layers(group: h5py.Group) -> dict[str, Arrays]:
    found = {}
    for name in group.attrs["layer_names"]:
        layer = group[name]
        arrays = [layer[weight][()] for weight in layer.attrs["weight_names"]]
        if arrays:
            found[name.decode() if isinstance(name, bytes) else str(name)] = arrays
    return found


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())) or "no layers"
