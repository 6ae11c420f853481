"""Removes the last float operators from an int8 file, and makes its input and output uint8.

litert-quantizer does not support LEAKY_RELU and keeps it in float between DEQUANTIZE and QUANTIZE,
although the interpreters have an int8 kernel. Input and output are uint8 because applications store
images as uint8.
"""

from __future__ import annotations

from ai_edge_litert import schema_py_generated as schema

from bokeh_convert.graph.editor import Graph
from bokeh_convert.graph.op_inventory import float_operators
from bokeh_convert.graph.schema_views import Op, Operator, QuantizationParameters, TensorType
from bokeh_runtime.errors import Argument, InputError

# The int8 kernels of these operators support different scales of input and output.
_ELEMENTWISE = (Op.LEAKY_RELU,)
_UINT8_SHIFT = 128


def make_full_integer(content: bytes) -> bytes:
    """Returns the file without float operators, with uint8 input and output.

    Args:
        content: A .tflite file from litert-quantizer, all operators that it supports in int8.

    Raises:
        InputError: If an operator has no int8 kernel; the message names it.
    """
    graph = Graph(content)
    _fuse_elementwise(graph)
    _set_uint8_input_and_output(graph)
    result = graph.to_bytes()
    # DEQUANTIZE and QUANTIZE only remain because of other float operators.
    unsupported = float_operators(result) - {"DEQUANTIZE", "QUANTIZE"}
    if unsupported:
        raise InputError(
            f"full-integer: no integer kernel for {', '.join(sorted(unsupported))}",
            remedy=("use ", Argument("quant", "int8"), ", which keeps such operators in float"),
        )
    return result


def _fuse_elementwise(graph: Graph) -> None:
    """Replaces DEQUANTIZE, operator, QUANTIZE by the operator on int8."""
    made_by, readers = graph.producers(), graph.consumers()
    removed: list[Operator] = []
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
        removed.append(after[0])
        for other in after[1:]:  # the same values, possibly at another scale
            other.inputs = [first]
        readers[source].remove(operator)
        if not readers[source]:
            removed.append(before)
    removed_ids = {id(operator) for operator in removed}
    graph.operators = [operator for operator in graph.operators if id(operator) not in removed_ids]


def _set_uint8_input_and_output(graph: Graph) -> None:
    """Adds a QUANTIZE from uint8 before the int8 input, and one to uint8 after the output."""
    (source,), (target,) = graph.inputs, graph.outputs
    if any(graph.tensors[index].type != TensorType.INT8 for index in (source, target)):
        return  # `make_full_integer` then reports the operators that are still float
    uint8_input, uint8_output = _as_uint8(graph, source), _as_uint8(graph, target)
    options = schema.QuantizeOptionsT()
    graph.operators = [
        graph.new_operator(Op.QUANTIZE, [uint8_input], [source], options),
        *graph.operators,
        graph.new_operator(Op.QUANTIZE, [target], [uint8_output], options),
    ]
    graph.set_inputs_outputs([uint8_input], [uint8_output])


def _as_uint8(graph: Graph, index: int) -> int:
    """Adds a uint8 tensor that represents the same values as an int8 tensor."""
    signed = graph.tensors[index]
    if signed.quantization is None or signed.quantization.zeroPoint is None:
        raise ValueError(f"tensor {graph.name(index)!r} is not quantized")
    quantization: QuantizationParameters = schema.QuantizationParametersT()
    quantization.scale = signed.quantization.scale
    quantization.zeroPoint = [zero + _UINT8_SHIFT for zero in signed.quantization.zeroPoint]
    name = f"{graph.name(index)}_uint8"
    return graph.add_tensor(name, TensorType.UINT8, list(signed.shape), quantization)
