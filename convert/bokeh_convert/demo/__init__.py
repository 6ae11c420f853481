"""The trained models that ship with the package; see MODEL_CARD.md and STUDENT_CARD.md."""

from __future__ import annotations

from pathlib import Path

DEMO_SIZE = (256, 384)
"""Default input (height, width) of the demo models, in pixels."""
DEMO_MODELS = {"pynet": "demo_pynet.h5", "student": "demo_student.h5"}
"""Files by name: the trained PyNET, and its student, which is faster."""


def demo_model(name: str = "pynet") -> Path:
    """Returns the path of a trained model that ships with the package.

    Args:
        name: One of `DEMO_MODELS`.

    Raises:
        KeyError: If there is no such model.
    """
    return Path(__file__).parent / DEMO_MODELS[name]


def is_demo_model(path: Path) -> bool:
    """Whether a path is that of a model that ships with the package."""
    return path.resolve() in {demo_model(name).resolve() for name in DEMO_MODELS}
