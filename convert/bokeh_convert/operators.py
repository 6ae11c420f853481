"""Which operators a .tflite file holds, and which of them a GPU delegate would not take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from ai_edge_litert import schema_py_generated as schema

_NAMES = {
    value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)
}

# What the GPU delegate checks for by name (tensorflow/lite/tools/versioning/gpu_compatibility.cc).
# TensorFlow 2.21's own analyzer is no help: it calls every file compatible, TOPK_V2 included.
GPU_OPERATORS = frozenset(
    """
    ABS ADD ADD_N ATAN2 AVERAGE_POOL_2D BATCH_MATMUL CAST CEIL CONCATENATION CONV_2D COS CUMSUM
    DENSIFY DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE DIV DYNAMIC_UPDATE_SLICE ELU
    EMBEDDING_LOOKUP EQUAL EXP FLOOR FLOOR_DIV FLOOR_MOD FULLY_CONNECTED GATHER GELU GREATER
    GREATER_EQUAL HARD_SWISH LEAKY_RELU LESS LESS_EQUAL LOG LOGICAL_AND LOGISTIC LSTM MAXIMUM
    MAX_POOL_2D MEAN MINIMUM MIRROR_PAD MUL NEG NOT_EQUAL ONE_HOT PACK PAD PADV2 POW PRELU QUANTIZE
    REDUCE_MAX REDUCE_MIN REDUCE_PROD RELU RELU6 RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR
    RESIZE_NEAREST_NEIGHBOR RSQRT SELECT SELECT_V2 SIGN SIN SLICE SOFTMAX SPACE_TO_DEPTH SPLIT
    SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE STABLEHLO_CLAMP STRIDED_SLICE SUB SUM TANH TILE
    TRANSPOSE TRANSPOSE_CONV
    """.split()  # noqa: SIM905
)
_GPU_DIMENSIONS = 4


def count_operators(content: bytes) -> dict[str, int]:
    """Returns how often each operator stands in the file, most frequent first."""
    return dict(Counter(name for name, _, _ in _operators(content)).most_common())


def gpu_objections(content: bytes) -> list[str]:
    """Returns why operators of the file would stay off a GPU, one line for each kind.

    An empty list means that the delegate knows every operator. Whether a device takes them all is
    settled by running there.
    """
    objections: Counter[str] = Counter()
    for name, graph, operator in _operators(content):
        if name not in GPU_OPERATORS:
            objections[f"{name}: not an operator of the GPU delegate"] += 1
            continue
        most = max(len(_shape(graph, i)) for i in _tensors(operator))
        if most > _GPU_DIMENSIONS:
            objections[f"{name}: works on {most} dimensions, the GPU delegate on 4"] += 1
    return [f"{reason} ({count} times)" for reason, count in objections.most_common()]


def _operators(content: bytes) -> Iterator[tuple[str, Any, Any]]:
    """Yields name, subgraph and operator."""
    model = schema.Model.GetRootAs(content)
    for g in range(model.SubgraphsLength()):
        graph = model.Subgraphs(g)
        for i in range(graph.OperatorsLength()):
            operator = graph.Operators(i)
            code = model.OperatorCodes(operator.OpcodeIndex())
            # Old files keep the code in the first field, new ones in the second.
            number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
            yield _NAMES.get(number, str(number)), graph, operator


def _tensors(operator: Any) -> Iterator[int]:
    for i in range(operator.InputsLength()):
        if operator.Inputs(i) >= 0:  # -1 is an optional input left out
            yield operator.Inputs(i)
    for i in range(operator.OutputsLength()):
        yield operator.Outputs(i)


def _shape(graph: Any, tensor: int) -> list[int]:
    described = graph.Tensors(tensor)
    return [described.Shape(i) for i in range(described.ShapeLength())]
