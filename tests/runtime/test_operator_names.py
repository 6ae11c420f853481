from __future__ import annotations

import pytest

from bokeh_runtime.tflite.operator_names import BUILTIN_OPERATORS, CUSTOM, PLACEHOLDER
from helpers.skips import ELSEWHERE


def test_the_names_are_those_of_the_installed_schema() -> None:
    schema = pytest.importorskip(
        "ai_edge_litert.schema_py_generated", reason=f"{ELSEWHERE}tflite-runtime ships no schema"
    )
    numbers = {name: n for name, n in vars(schema.BuiltinOperator).items() if name[0] != "_"}
    assert {name: n for n, name in enumerate(BUILTIN_OPERATORS)} == numbers, (
        "run: python -m bokeh_runtime.tflite.write_operator_names"
    )


def test_names_are_indexed_by_the_numbers_of_the_file_format() -> None:
    # From schema.fbs; numbers of a file format never change.
    for number, name in ((0, "ADD"), (3, "CONV_2D"), (67, "TRANSPOSE_CONV"), (150, "GELU")):
        assert BUILTIN_OPERATORS[number] == name
    assert (CUSTOM, PLACEHOLDER) == (32, 127)
