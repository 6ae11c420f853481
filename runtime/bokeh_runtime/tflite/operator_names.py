"""Names of the builtin operators, indexed by their number in LiteRT's `schema.fbs`.

The names are stored in `operator_names.json`, since tflite-runtime does not ship the schema.
`write_operator_names.py` writes that file from the schema in ai-edge-litert.
"""

from __future__ import annotations

import json
from importlib.resources import files

BUILTIN_OPERATORS: tuple[str, ...] = tuple(
    json.loads(files("bokeh_runtime.tflite").joinpath("operator_names.json").read_text("utf-8"))
)

CUSTOM = BUILTIN_OPERATORS.index("CUSTOM")
PLACEHOLDER = BUILTIN_OPERATORS.index("PLACEHOLDER_FOR_GREATER_OP_CODES")
