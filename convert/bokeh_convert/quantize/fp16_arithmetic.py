"""Float16 arithmetic on ARM CPUs: its emulation, and the metadata entry that allows it.

XNNPACK computes in float16 on ARM CPUs if the metadata of the file allows it, which halves the
latency. The emulation predicts the effect on the output: it rounds every activation to float16. It
still accumulates sums in float32, so it is more accurate than a phone: slightly with few channels,
and by 10 to 20 dB in sums of 576 and more products without instance norm (docs/limitations.md).
"""

from __future__ import annotations

from ai_edge_litert import schema_py_generated as schema

from bokeh_convert.graph.editor import Graph
from bokeh_convert.graph.schema_views import Op, Operator, TensorType

MIN_PSNR_DB = 50.0
"""PSNR of the worst photo against the full model from which a file allows float16 arithmetic.

The error is then 0.8/255 (RMS); that of rounding to 8 bits is 0.3/255.
"""
# Defined in TensorFlow's reduced_precision_support.h.
_ENTRY = "reduced_precision_support"
_FP16_WITH_FP16_ACCUMULATION = b"fp16accfp16"


def emulate_fp16_arithmetic(content: bytes) -> bytes:
    """Returns a file that rounds every float activation to float16.

    Args:
        content: A .tflite file with float operators; its weights may be float16.
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


def allow_fp16_arithmetic(content: bytes) -> bytes:
    """Returns the file with the metadata entry that lets ARM CPUs compute it in float16."""
    graph = Graph(content)
    graph.set_metadata(_ENTRY, _FP16_WITH_FP16_ACCUMULATION)
    return graph.to_bytes()


def _cast(graph: Graph, source: int, target: int, from_kind: int, to_kind: int) -> Operator:
    options = schema.CastOptionsT()
    options.inDataType, options.outDataType = from_kind, to_kind
    return graph.new_operator(Op.CAST, [source], [target], options)
