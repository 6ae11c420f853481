"""Reads weights alone into our PyNET: `.weights.h5` of Keras 3, and Keras' older `.h5` layout."""

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
from bokeh_convert.sources.float_model import FloatModel, keras_model, refusing
from bokeh_convert.sources.model_types import KerasLayer
from bokeh_convert.sources.options import SourceOptions
from bokeh_runtime.errors import InputError

Arrays = list[npt.NDArray[np.float32]]


def read_weights(path: Path, options: SourceOptions) -> FloatModel:
    """Builds our PyNET as the options say and fills it from an `.h5` file without a model.

    Which heads the weights were saved with is seen from the layers that the file holds.

    Raises:
        InputError: If they do not fit; names the first layer that differs.
    """
    with refusing(path, "the HDF5 reader"), h5py.File(path, "r") as file:
        if "layers" in file:
            model = _from_numbered(path, _numbered_layers(file["layers"]), options)
        else:
            group = file.get("model_weights", file)
            if "layer_names" not in group.attrs:
                raise InputError(f"{path}: holds neither a Keras model nor its weights")
            model = _from_named(path, _named_layers(group), options)
    return keras_model(path, "weights-h5", model, options)


def build(
    path: Path, heads: Sequence[str], options: SourceOptions
) -> tuple[keras.Model, list[KerasLayer]]:
    """Builds the PyNET that the options describe, the authors' unless they say otherwise.

    Returns:
        The model, and its layers that hold variables in the authors' order.
    """
    try:
        return pynet_in_order(
            width=1.0 if options.width is None else options.width,
            input_channels=4 if options.input_channels is None else options.input_channels,
            heads=heads,
            residual=bool(options.residual),
        )
    except ValueError as error:
        raise InputError(f"{path}: {error}; check --width and --input-channels") from error


def fill(
    path: Path, layer: KerasLayer, arrays: Sequence[npt.NDArray[np.number]], options: SourceOptions
) -> None:
    """Sets a layer's variables.

    Raises:
        InputError: If their shapes differ.
    """
    there = [tuple(array.shape) for array in arrays]
    wanted = [tuple(weight.shape) for weight in layer.weights]
    if there != wanted:
        raise InputError(_mismatch(path, layer.name, there, wanted, options))
    layer.set_weights([np.asarray(array, np.float32) for array in arrays])


def _mismatch(path: Path, layer: str, there: object, wanted: object, options: SourceOptions) -> str:
    width = 1.0 if options.width is None else options.width
    channels = 4 if options.input_channels is None else options.input_channels
    return (
        f"{path}: {layer} holds {there}, in a PyNET of --width {width:g} --input-channels "
        f"{channels} it has {wanted}; set those options as the model was trained"
    )


def _from_numbered(
    path: Path, groups: Mapping[str, list[Arrays]], options: SourceOptions
) -> keras.Model:
    """Fills a model from layers known by class and number, as Keras 3 stores them."""
    counts = {kind: len(layers) for kind, layers in groups.items()}
    for heads in ((options.level or "l_up",), *((head,) for head in HEADS), HEADS):
        model, _ = build(path, heads, options)
        layers = [layer for layer in model.layers if layer.weights]  # as Keras numbers them
        kinds = Counter(_kind(layer) for layer in layers)
        if kinds == counts:
            break
    else:
        raise InputError(
            f"{path}: holds {_listed(counts)}; that is no PyNET of one head or of all seven; "
            "save the whole model with model.save()"
        )
    position: Counter[str] = Counter()
    for layer in layers:
        kind = _kind(layer)
        fill(path, layer, groups[kind][position[kind]], options)
        position[kind] += 1
    return model


def _from_named(path: Path, named: Mapping[str, Arrays], options: SourceOptions) -> keras.Model:
    """Fills a model from layers that are known by their names in our PyNET."""
    heads = [head for head in HEADS if f"out_{head}_conv" in named]
    # The layer of head l0 is also on the way to l_up.
    model, layers = build(path, heads or ("l_up",), options)
    for layer in layers:
        if layer.name not in named:
            raise InputError(
                f"{path}: has no layer {layer.name}; weights alone are known by the names of "
                "bokeh_convert.pynet.network; save the whole model with model.save()"
            )
        fill(path, layer, named[layer.name], options)
    return model


def _kind(layer: KerasLayer) -> str:
    """Returns the layer's class as Keras 3 writes it into weight files: Conv2D is conv2d."""
    words = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", type(layer).__name__)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", words).lower()


def _numbered_layers(group: h5py.Group) -> dict[str, list[Arrays]]:
    """Returns the arrays of each layer, by class; conv2d, conv2d_1, conv2d_2 ... are one class."""
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
