"""Runs a network that was trained for int8 without the rounding that it was trained with.

A file is compared with what the network computes in float. The rounding of the training is part of
the file's error, and would be counted twice if the reference had it, too.
"""

from __future__ import annotations

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from bokeh_convert.sources.model_types import ConcreteFunction

_ROUNDING = "FakeQuantWithMinMax"


def without_rounding(concrete: ConcreteFunction) -> ConcreteFunction:
    """Returns a function without its fake quantization; the same one if it has none."""
    if not any(node.op.startswith(_ROUNDING) for node in concrete.graph.as_graph_def().node):
        return concrete
    frozen = convert_variables_to_constants_v2(concrete)
    graph = frozen.graph.as_graph_def()
    for node in graph.node:
        if node.op.startswith(_ROUNDING):
            node.op = "Identity"
            del node.input[1:]
            node.attr.clear()
            node.attr["T"].type = tf.float32.as_datatype_enum
    ends = [frozen.inputs[0].name, frozen.outputs[0].name]

    def imported() -> None:
        tf.graph_util.import_graph_def(graph, name="")

    wrapped = tf.compat.v1.wrap_function(imported, [])
    found: ConcreteFunction = wrapped.prune(
        *(wrapped.graph.as_graph_element(name) for name in ends)
    )
    return found
