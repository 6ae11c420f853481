"""Which operators a .tflite file holds, and which of them a GPU delegate would not take."""

from __future__ import annotations

import contextlib
import io
import re
from collections import Counter

import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema

_NAMES = {
    value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)
}
_WARNING = re.compile(r"GPU COMPATIBILITY WARNING: (.+)")


def count_operators(content: bytes) -> dict[str, int]:
    """Returns how often each operator stands in the file, most frequent first."""
    model = schema.Model.GetRootAs(content)
    counts: Counter[str] = Counter()
    for g in range(model.SubgraphsLength()):
        graph = model.Subgraphs(g)
        for i in range(graph.OperatorsLength()):
            code = model.OperatorCodes(graph.Operators(i).OpcodeIndex())
            # Old files keep the code in the first field, new ones in the second.
            number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
            counts[_NAMES.get(number, str(number))] += 1
    return dict(counts.most_common())


def gpu_objections(content: bytes) -> list[str]:
    """Returns what TensorFlow's own analyzer says would keep the file from the GPU delegate.

    An empty list means that every operator is one that the delegate knows.
    """
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        tf.lite.experimental.Analyzer.analyze(model_content=content, gpu_compatibility=True)
    return [match.group(1).strip() for match in _WARNING.finditer(text.getvalue())]
