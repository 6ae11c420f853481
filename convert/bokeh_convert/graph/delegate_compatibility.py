"""Lists the operators that the GPU and NNAPI delegates do not support, by their own rules.

Whether a device delegates the others is only known by running there.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from bokeh_convert.graph.op_inventory import OperatorSummary, read_operators
from bokeh_runtime.contract.constants import NNAPI_CONVERSIONS, NNAPI_OPERATORS

# Operators that the GPU delegate supports (tensorflow/lite/tools/versioning/gpu_compatibility.cc).
# TensorFlow 2.21's own analyzer calls every file compatible, even with TOPK_V2.
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

_MAX_RANK = 4


@dataclass(frozen=True)
class OperatorRow:
    """Operators of one name and type in a file, and which delegates support them.

    Attributes:
        operator: Such as "CONV_2D".
        type: Of its tensors, such as "float32", or "float32 -> int8".
        count: How often it occurs in the file.
        gpu: Why LiteRT's GPU delegate does not support it; None if it does.
        nnapi_level: Lowest Android API level at which the NNAPI delegate supports it; None is
            never.
    """

    operator: str
    type: str
    count: int
    gpu: str | None
    nnapi_level: int | None


def operator_compatibility(content: bytes) -> list[OperatorRow]:
    """Returns a row for each operator name and type in a .tflite file, most frequent first."""
    counts = Counter(
        (operator.name, _value_type(operator), _gpu_objection(operator), _nnapi_level(operator))
        for operator in read_operators(content)
    )
    return [
        OperatorRow(name, value_type, count, gpu, nnapi)
        for (name, value_type, gpu, nnapi), count in counts.most_common()
    ]


def gpu_objections(rows: list[OperatorRow]) -> list[str]:
    """Returns one line for each row that the GPU delegate does not support, with the reason."""
    return [f"{row.operator}: {row.gpu} ({row.count} times)" for row in rows if row.gpu]


def _value_type(operator: OperatorSummary) -> str:
    # A DEQUANTIZE of float16 weights has a constant as its only input.
    types = dict.fromkeys(
        (*(operator.constant_types if len(operator.types) == 1 else ()), *operator.types)
    )
    if operator.name in ("QUANTIZE", "DEQUANTIZE", "CAST"):
        return " -> ".join(types)
    return next(name for name in (*operator.types, "none") if name != "int32")


def _gpu_objection(operator: OperatorSummary) -> str | None:
    if operator.name not in GPU_OPERATORS:
        return "not an operator of the GPU delegate"
    if operator.max_rank > _MAX_RANK:
        return f"works on {operator.max_rank} dimensions, the GPU delegate on {_MAX_RANK}"
    if "int16" in operator.types:
        return "works on int16, the GPU delegate on float and 8 bits"
    return None


def _nnapi_level(operator: OperatorSummary) -> int | None:
    types = {*operator.types, *operator.constant_types}
    if operator.max_rank > _MAX_RANK or "int16" in types:
        return None
    if operator.name in NNAPI_CONVERSIONS:
        kind = next((kind for kind in ("float16", "int8") if kind in types), "uint8")
        return NNAPI_CONVERSIONS[operator.name][kind]
    levels = NNAPI_OPERATORS.get(operator.name)
    if levels is None:
        return None
    # Float activations with 8-bit weights need the level of 8-bit tensors.
    return levels.on_8_bits if types & {"int8", "uint8"} else levels.on_float
