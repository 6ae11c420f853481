"""Writes `operator_names.json` from the schema of the installed ai-edge-litert.

Run `python -m bokeh_runtime.tflite.write_operator_names` after an upgrade of ai-edge-litert.
"""

from __future__ import annotations

import json
from pathlib import Path

from ai_edge_litert.schema_py_generated import BuiltinOperator


def main() -> None:
    """Writes the names in the order of their numbers, which start at 0 without gaps."""
    numbers = {number: name for name, number in vars(BuiltinOperator).items() if name[0] != "_"}
    names = [numbers[number] for number in range(len(numbers))]
    path = Path(__file__).with_name("operator_names.json")
    path.write_text(json.dumps(names, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
