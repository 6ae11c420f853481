"""Lists the operators by name and type, with GPU support and the required NNAPI level of each.

The rules are those of the targets `gpu` and `nnapi` in `bokeh_convert.targets`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from bokeh_convert.graph.op_inventory import OperatorSummary, read_operators
from bokeh_convert.targets import gpu, nnapi


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
    rule = gpu.TARGET.rule_for(operator)
    return rule.why.format(rank=operator.max_rank) if rule.verdict == "refuses" else None


def _nnapi_level(operator: OperatorSummary) -> int | None:
    return nnapi.TARGET.rule_for(operator).api_level
