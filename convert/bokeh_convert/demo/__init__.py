"""The trained model that ships with the package; see its MODEL_CARD.md."""

from __future__ import annotations

from pathlib import Path

DEMO_SIZE = (256, 384)
"""Default input (height, width) of the demo model, in pixels."""


def demo_model() -> Path:
    """Returns the path of the trained model that ships with the package."""
    return Path(__file__).parent / "demo_pynet.h5"
