"""Names of the builtin operators, by their numbers in LiteRT's `schema.fbs`.

The names are in `operator_names.json`, which `write_operator_names.py` writes from the schema that
ai-edge-litert ships: where tflite-runtime is the interpreter, no schema is installed.
"""

from __future__ import annotations

import json
from importlib.resources import files

BUILTIN_OPERATORS: tuple[str, ...] = tuple(
    json.loads(files("bokeh_runtime.tflite").joinpath("operator_names.json").read_text("utf-8"))
)

CUSTOM = BUILTIN_OPERATORS.index("CUSTOM")
PLACEHOLDER = BUILTIN_OPERATORS.index("PLACEHOLDER_FOR_GREATER_OP_CODES")
