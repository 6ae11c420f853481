"""Reads the serving signature of a SavedModel folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from bokeh_convert.sources.float_model import FloatModel, refusing
from bokeh_convert.sources.input_layout import NetworkInput, layout_of
from bokeh_convert.sources.options import SourceOptions
from bokeh_convert.sources.security.graph import refuse_side_effects
from bokeh_convert.sources.security.links import refuse_foreign_files
from bokeh_runtime.errors import InputError

SERVE = "serve"
_DEFAULT = "serving_default"


def read_saved_model(path: Path, options: SourceOptions) -> FloatModel:
    """Loads a SavedModel of TensorFlow 1 or 2, after a look at its graph.

    Raises:
        InputError: If it is damaged, has no usable signature, or does more than compute.
    """
    options.refuse_pynet_options(path)
    files = tuple(sorted(p for p in path.rglob("*") if p.is_file()))
    if not options.trust_source:
        refuse_foreign_files(path, tuple(path.rglob("*")), path)
    with refusing(path, "TensorFlow"):
        stored = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
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
                f"{path}: the shape of input {argument} is unknown; save it with a shape"
            )
    arguments = tuple(specs)
    layout = layout_of(
        path,
        [
            NetworkInput(name, tuple(spec.shape.as_list()), spec.dtype)
            for name, spec in specs.items()
        ],
    )

    def network(inputs: Sequence[Any]) -> dict[str, Any]:
        # The object owns the variables: without it they would be collected.
        _ = loaded
        return dict(signature(**dict(zip(arguments, inputs, strict=True))))

    return FloatModel(path, files, "saved-model", network, layout, options)


def _serving(path: Path, stored: Any) -> Any:
    for meta_graph in stored.meta_graphs:
        if set(meta_graph.meta_info_def.tags) == {SERVE}:
            return meta_graph
    tags = [list(meta_graph.meta_info_def.tags) for meta_graph in stored.meta_graphs]
    raise InputError(f"{path}: has no graph tagged '{SERVE}', only {tags}; export it for serving")


def _signature_name(path: Path, meta_graph: Any) -> str:
    names = [name for name in meta_graph.signature_def if not name.startswith("__")]
    if _DEFAULT in names:
        return _DEFAULT
    if len(names) == 1:
        return str(names[0])
    raise InputError(
        f"{path}: has no signature '{_DEFAULT}' but {', '.join(names) or 'none'}; "
        "save it with signatures={'serving_default': ...}"
    )
