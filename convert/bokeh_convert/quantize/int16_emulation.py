"""Emulates an int16x8 file with the fast float kernels.

The interpreters have only reference kernels for int16 activations, measured 13 to 40 times slower
than float: a full-size PyNET would take many minutes per photo. The emulation keeps all activations
on the int16 grid and all weights on the int8 grid of the file, and convolves in float32, whose
rounding error is far below one int16 step. Large int16x8 files are verified with the emulation, and
the report says so (`emulated`).
"""

from __future__ import annotations

from ai_edge_litert import schema_py_generated as schema

from bokeh_convert.graph.editor import Graph
from bokeh_convert.graph.schema_views import Op, TensorType

EMULATE_ABOVE_MACS = 20_000_000_000
"""Multiply-accumulates per photo above which int16x8 files are verified with the emulation.

At this size, the emulation takes about 15 s per photo.
"""

# Positions of filter, bias and data among the inputs of an operator.
_SLOTS = {Op.CONV_2D: (1, 2, 0), Op.TRANSPOSE_CONV: (1, 3, 2)}


def emulate_int16(content: bytes) -> bytes:
    """Returns a file with float convolutions and nearly the output of an int16x8 file.

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
