"""Turns a file whose operators are int8 but for a few into one without any float.

The engine knows no LEAKY_RELU and leaves it in float between DEQUANTIZE and QUANTIZE; the
interpreters have an integer one. And applications hold photos as uint8.
"""

from __future__ import annotations

from ai_edge_litert import schema_py_generated as schema

from bokeh_convert.graph.editor import Graph
from bokeh_convert.graph.op_inventory import float_operators
from bokeh_convert.graph.schema_views import Op, Operator, QuantizationParameters, TensorType
from bokeh_runtime.errors import InputError

# Of these the interpreters have int8 kernels that take another scale in than out.
_ELEMENTWISE = (Op.LEAKY_RELU,)
_UINT8_SHIFT = 128


def make_full_integer(content: bytes) -> bytes:
    """Returns the file with its last float operators in int8, and uint8 in and out.

    Args:
        content: A .tflite file from the engine, every operator that it knows in int8.

    Raises:
        InputError: If an operator stays float; names it.
    """
    graph = Graph(content)
    _join_elementwise(graph)
    _set_uint8_ends(graph)
    result = graph.to_bytes()
    left = float_operators(result) - {"DEQUANTIZE", "QUANTIZE"}  # those follow from the others
    if left:
        raise InputError(
            f"full-integer: {', '.join(sorted(left))} of this model has no integer form here; "
            "use --quant int8, which leaves such operators in float"
        )
    return result


def _join_elementwise(graph: Graph) -> None:
    """Makes DEQUANTIZE - operator - QUANTIZE one integer operator."""
    made_by, readers = graph.producers(), graph.consumers()
    gone: list[Operator] = []
    for operator in graph.operators:
        if graph.opcode(operator) not in _ELEMENTWISE:
            continue
        (source,), (target,) = operator.inputs, operator.outputs
        before, after = made_by.get(source), readers.get(target, [])
        if before is None or graph.opcode(before) != Op.DEQUANTIZE:
            continue
        if not after or any(graph.opcode(reader) != Op.QUANTIZE for reader in after):
            continue
        first = after[0].outputs[0]
        operator.inputs, operator.outputs = before.inputs, [first]
        gone.append(after[0])
        for other in after[1:]:  # the same values, perhaps at another scale
            other.inputs = [first]
        readers[source].remove(operator)
        if not readers[source]:
            gone.append(before)
    dropped = {id(operator) for operator in gone}
    graph.operators = [operator for operator in graph.operators if id(operator) not in dropped]


def _set_uint8_ends(graph: Graph) -> None:
    """Puts a QUANTIZE from uint8 before the int8 input, and one to uint8 after the output."""
    (source,), (target,) = graph.inputs, graph.outputs
    if any(graph.tensors[index].type != TensorType.INT8 for index in (source, target)):
        return  # the check that follows names what kept the ends in float
    photo, picture = _as_uint8(graph, source), _as_uint8(graph, target)
    options = schema.QuantizeOptionsT()
    graph.operators = [
        graph.new_operator(Op.QUANTIZE, [photo], [source], options),
        *graph.operators,
        graph.new_operator(Op.QUANTIZE, [target], [picture], options),
    ]
    graph.set_inputs_outputs([photo], [picture])


def _as_uint8(graph: Graph, index: int) -> int:
    """Adds a uint8 tensor that means the same as an int8 one."""
    signed = graph.tensors[index]
    if signed.quantization is None or signed.quantization.zeroPoint is None:
        raise ValueError(f"tensor {graph.name(index)!r} is not quantized")
    quantization: QuantizationParameters = schema.QuantizationParametersT()
    quantization.scale = signed.quantization.scale
    quantization.zeroPoint = [zero + _UINT8_SHIFT for zero in signed.quantization.zeroPoint]
    name = f"{graph.name(index)}_uint8"
    return graph.add_tensor(name, TensorType.UINT8, list(signed.shape), quantization)
