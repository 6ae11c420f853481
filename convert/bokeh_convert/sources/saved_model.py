"""Reads SavedModel folders, through their serving signature."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from bokeh_convert.sources.float_model import FloatModel, loading_errors
from bokeh_convert.sources.input_layout import NetworkInput, layout_of
from bokeh_convert.sources.model_types import Tensor
from bokeh_convert.sources.options import SourceOptions
from bokeh_convert.sources.security.graph import refuse_side_effects
from bokeh_convert.sources.security.graph_types import MetaGraphDef, SavedModel
from bokeh_convert.sources.security.links import refuse_foreign_files
from bokeh_runtime.errors import InputError

SERVE = "serve"
_DEFAULT = "serving_default"


def read_saved_model(path: Path, options: SourceOptions) -> FloatModel:
    """Checks the graph of a SavedModel of TensorFlow 1 or 2, and loads it.

    Raises:
        InputError: If it is damaged, has no usable signature, or its graph has operators with side
            effects.
    """
    options.refuse_pynet_options(path)
    files = tuple(sorted(p for p in path.rglob("*") if p.is_file()))
    if not options.trust_source:
        refuse_foreign_files(path, tuple(path.rglob("*")), path)
    with loading_errors(path, "TensorFlow"):
        content = (path / "saved_model.pb").read_bytes()
        stored: SavedModel = saved_model_pb2.SavedModel.FromString(content)
        meta_graph = _serving(path, stored)
        name = _signature_name(path, meta_graph)
        if not options.trust_source:
            refuse_side_effects(path, meta_graph, name)
        loaded = tf.saved_model.load(str(path), tags=[SERVE])
        signature = loaded.signatures[name]
    specs = signature.structured_input_signature[1]
    for argument, spec in specs.items():
        if spec.shape.rank is None:
            raise InputError(
                f"{path}: the shape of input {argument} is unknown; export the model with a shape"
            )
    inputs = [
        NetworkInput(argument, tuple(spec.shape.as_list()), spec.dtype)
        for argument, spec in specs.items()
    ]

    def network(tensors: Sequence[Tensor]) -> dict[str, Tensor]:
        # Keeps the loaded object alive, which owns the variables.
        _ = loaded
        outputs = signature(**dict(zip(specs, tensors, strict=True)))
        return {name: outputs[name] for name in sorted(outputs)}  # as stored, their order is random

    return FloatModel(path, files, "saved-model", network, layout_of(path, inputs), options)


def _serving(path: Path, stored: SavedModel) -> MetaGraphDef:
    for meta_graph in stored.meta_graphs:
        if set(meta_graph.meta_info_def.tags) == {SERVE}:
            return meta_graph
    tags = [list(meta_graph.meta_info_def.tags) for meta_graph in stored.meta_graphs]
    raise InputError(
        f"{path}: has no graph with the tag '{SERVE}', only {tags}; export it for serving"
    )


def _signature_name(path: Path, meta_graph: MetaGraphDef) -> str:
    names = [name for name in meta_graph.signature_def if not name.startswith("__")]
    if _DEFAULT in names:
        return _DEFAULT
    if len(names) == 1:
        return names[0]
    raise InputError(
        f"{path}: has no signature '{_DEFAULT}' but {', '.join(names) or 'none'}; "
        "save it with signatures={'serving_default': ...}"
    )
