"""What an int16x8 file draws, computed with the fast float kernels.

The interpreters have only plain kernels for int16 activations (seen 13 to 40 times slower than
float): a full-size PyNET would take many minutes for each photo. The rehearsal keeps every value
on the file's own int8 and int16 grid and convolves in float32, whose rounding is far below a step
of int16. `bokeh_convert.verify.verification` uses it for large models, and the report says so.
"""

from __future__ import annotations

from ai_edge_litert import schema_py_generated as schema

from bokeh_convert.graph.editor import Graph
from bokeh_convert.graph.schema_views import Op, TensorType

MOST_MULTIPLY_ACCUMULATES = 20_000_000_000
"""Per photo; larger int16x8 files are verified by rehearsal (about 15 s a photo at this size)."""

# Where filter, bias and data stand among an operator's inputs.
_SLOTS = {Op.CONV_2D: (1, 2, 0), Op.TRANSPOSE_CONV: (1, 3, 2)}


def rehearse_int16(content: bytes) -> bytes:
    """Returns a float file that draws what an int16x8 file draws.

    Args:
        content: A .tflite file whose convolutions have int16 activations and int8 filters.
    """
    graph = Graph(content)
    operators = []
    for operator in graph.operators:
        slots = _SLOTS.get(graph.opcode(operator))
        target = operator.outputs[0]
        if slots is None or graph.tensors[target].type != TensorType.INT16:
            operators.append(operator)
            continue
        filters, bias, data = slots
        for slot in (filters, bias):
            if slot < len(operator.inputs) and operator.inputs[slot] >= 0:
                constant = operator.inputs[slot]
                operator.inputs[slot] = graph.add_constant(
                    f"real_{constant}", graph.dequantized(constant)
                )
        source = operator.inputs[data]
        before = graph.add_tensor(
            f"before_{target}", TensorType.FLOAT32, list(graph.tensors[source].shape)
        )
        after = graph.add_tensor(
            f"after_{target}", TensorType.FLOAT32, list(graph.tensors[target].shape)
        )
        operator.inputs[data], operator.outputs[0] = before, after
        operators += [
            graph.new_operator(Op.DEQUANTIZE, [source], [before], schema.DequantizeOptionsT()),
            operator,
            graph.new_operator(Op.QUANTIZE, [after], [int(target)], schema.QuantizeOptionsT()),
        ]
    graph.operators = operators
    return graph.to_bytes()
