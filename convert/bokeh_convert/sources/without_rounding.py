"""Runs a network that was trained for int8 without the rounding that it was trained with.

A file is compared with what the network computes in float. The rounding of the training is part of
the file's error, and would be counted twice if the reference had it, too. The ranges of the
training stay: a value outside of them is clipped in the network as in a file.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from bokeh_convert.sources.model_types import ConcreteFunction

_ROUNDING = "FakeQuantWithMinMax"
_FAR = 1e30
"""Outside of any range."""
_FLOAT = tf.float32.as_datatype_enum


def without_rounding(concrete: ConcreteFunction) -> ConcreteFunction:
    """Returns a function in which fake quantization clips alone; the same one if it has none."""
    graph = concrete.graph.as_graph_def()
    nodes = (graph.node, *(function.node_def for function in graph.library.function))
    if not any(node.op.startswith(_ROUNDING) for some in nodes for node in some):
        return concrete
    frozen = convert_variables_to_constants_v2(concrete)  # functions are put in place, too
    graph = frozen.graph.as_graph_def()
    for node in [node for node in graph.node if node.op.startswith(_ROUNDING)]:
        per_channel = node.op.endswith("PerChannel")
        shape = frozen.graph.get_operation_by_name(node.name).inputs[1].shape if per_channel else ()
        _clip_alone(graph, node, tuple(shape))
    ends = [frozen.inputs[0].name, frozen.outputs[0].name]

    def imported() -> None:
        tf.graph_util.import_graph_def(graph, name="")

    wrapped = tf.compat.v1.wrap_function(imported, [])
    found: ConcreteFunction = wrapped.prune(
        *(wrapped.graph.as_graph_element(name) for name in ends)
    )
    return found


def _clip_alone(graph: Any, node: Any, shape: tuple[int, ...]) -> None:
    """Makes a Minimum of a node that fake-quantizes, after a Maximum that is added.

    Fake quantization shifts its range, so that 0 is one of its values. What it makes of a value far
    outside is the end of that range.

    Args:
        graph: `GraphDef`; gets the nodes.
        node: `NodeDef`, edited in place.
        shape: Of the ends of its range.
    """
    ends = []
    for side, far in (("low", -_FAR), ("high", _FAR)):
        outside = graph.node.add(op="Const", name=f"{node.name}/outside_{side}")
        outside.attr["dtype"].type = _FLOAT
        values = np.full(shape, far, np.float32)
        outside.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(values))
        end = graph.node.add()
        end.CopyFrom(node)
        end.name, end.input[0] = f"{node.name}/{side}", outside.name
        ends.append(end.name)
    clipped = graph.node.add(op="Maximum", name=f"{node.name}/clipped_below")
    clipped.input.extend([node.input[0], ends[0]])
    node.op = "Minimum"
    node.ClearField("input")
    node.input.extend([clipped.name, ends[1]])
    node.attr.clear()
    for each in (clipped, node):
        each.attr["T"].type = _FLOAT
