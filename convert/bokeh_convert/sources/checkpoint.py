"""Reads TF1 checkpoints of the PyNET authors' code.

Their variables are numbered, not named: `generator/Variable`, `generator/Variable_1` and so on, in
the order in which the authors' code creates them. Our PyNET creates its layers in the same order.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import tensorflow as tf

from bokeh_convert.pynet.network import HEADS
from bokeh_convert.sources.float_model import FloatModel, keras_model, loading_errors
from bokeh_convert.sources.options import SourceOptions
from bokeh_convert.sources.security.links import refuse_foreign_files
from bokeh_convert.sources.weights import build, fill
from bokeh_runtime.errors import InputError

# Not `generator/Variable_3/Adam`: training checkpoints also hold the optimizer's variables.
_GENERATORS = re.compile(r"generator/Variable(?:_(\d+))?")


def read_checkpoint(prefix: Path, options: SourceOptions) -> FloatModel:
    """Loads a checkpoint, assigning its variables by their order.

    Args:
        prefix: Path without `.index` and `.data-00000-of-00001`.
        options: Width, channels and output of the PyNET.

    Raises:
        InputError: If it is damaged, or is not a checkpoint of a PyNET of this width.
    """
    index = prefix.with_name(f"{prefix.name}.index")
    parts = sorted(prefix.parent.glob(f"{_escaped(prefix.name)}.data-*"))
    if not options.trust_source:
        refuse_foreign_files(prefix, (index, *parts), prefix.parent)
    with loading_errors(prefix, "TensorFlow's checkpoint reader"):
        reader = tf.train.load_checkpoint(str(prefix))
        numbered = {}
        for name in reader.get_variable_to_shape_map():
            match = _GENERATORS.fullmatch(name)
            if match:
                numbered[int(match[1] or 0)] = name
        if not numbered:
            raise InputError(
                f"{prefix}: has no variables generator/Variable_N; give a checkpoint of the "
                "PyNET authors' code, or save your model with model.save()"
            )
        model, layers = build(prefix, HEADS, options)
        wanted = sum(len(layer.weights) for layer in layers)
        names = [numbered[number] for number in sorted(numbered)]
        if len(names) != wanted:
            raise InputError(
                f"{prefix}: has {len(names)} generator variables, and PyNET has {wanted}; "
                "give a checkpoint of the authors' PyNET"
            )
        at = 0
        for layer in layers:
            own = names[at : at + len(layer.weights)]
            fill(prefix, layer, [reader.get_tensor(name) for name in own], options)
            at += len(own)
    read = keras_model(prefix, "tf1-checkpoint", model, options)
    return replace(read, files=(index, *parts))


def _escaped(name: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", name)
