"""The models that ship with the package."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

SHIPPED_MODEL = "demo_pynet_float16.tflite"
"""The one that is used where none is given."""
SHIPPED_MODELS = (SHIPPED_MODEL, "demo_pynet_int8.tflite", "demo_student_int8.tflite")
"""All of them. The student draws what the others do, in less time."""


def shipped_model(name: str = SHIPPED_MODEL) -> Path:
    """Returns the path of a model that ships with the package."""
    return Path(str(files("bokeh_runtime") / "models" / name))
