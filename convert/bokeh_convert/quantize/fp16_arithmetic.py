"""Whether a phone's CPU may compute a file in native half precision, and the mark that says so.

XNNPACK computes in float16 on ARM CPUs if the file's metadata asks for it; that halves the time.
The rehearsal shows beforehand what it does to the picture: every activation is rounded to float16.
Sums are still accumulated in float32 there, so it is a little kinder than a phone.
"""

from __future__ import annotations

from ai_edge_litert import schema_py_generated as schema

from bokeh_convert.graph.editor import Graph
from bokeh_convert.graph.schema_views import Op, Operator, TensorType

MIN_PSNR_DB = 50.0
"""Worst photo, against the full model, for a file to be marked: no eye sees a difference."""
_ENTRY = "reduced_precision_support"
_NATIVE_HALF = b"fp16accfp16"


def rehearse_half(content: bytes) -> bytes:
    """Returns a file that rounds every float activation to float16.

    Args:
        content: A .tflite file of float operators; float16 weights are left as they are.
    """
    graph = Graph(content)
    operators = []
    for operator in graph.operators:
        operators.append(operator)
        if graph.opcode(operator) == Op.DEQUANTIZE:
            continue
        for slot, target in enumerate(operator.outputs):
            if graph.tensors[target].type != TensorType.FLOAT32:
                continue
            shape = list(graph.tensors[target].shape)
            exact = graph.add_tensor(f"exact_{target}", TensorType.FLOAT32, shape)
            half = graph.add_tensor(f"half_{target}", TensorType.FLOAT16, shape)
            operator.outputs[slot] = exact
            operators.append(_cast(graph, exact, half, TensorType.FLOAT32, TensorType.FLOAT16))
            operators.append(_cast(graph, half, target, TensorType.FLOAT16, TensorType.FLOAT32))
    graph.operators = operators
    return graph.to_bytes()


def mark_half(content: bytes) -> bytes:
    """Returns the file with the mark that lets ARM CPUs compute it in float16."""
    graph = Graph(content)
    graph.set_metadata(_ENTRY, _NATIVE_HALF)
    return graph.to_bytes()


def _cast(graph: Graph, source: int, target: int, from_kind: int, to_kind: int) -> Operator:
    options = schema.CastOptionsT()
    options.inDataType, options.outDataType = from_kind, to_kind
    return graph.new_operator(Op.CAST, [source], [target], options)
