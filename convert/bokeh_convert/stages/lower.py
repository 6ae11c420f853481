"""Lowers the trained model to a float32 flatbuffer."""

from __future__ import annotations

from dataclasses import dataclass

from bokeh_convert.graph.to_tflite import lower
from bokeh_convert.stages.read import Source


@dataclass(frozen=True)
class Lowered:
    """The trained model as a .tflite file, its graph as TensorFlow writes it.

    Attributes:
        source: What it was lowered from.
        content: The bytes of the file.
    """

    source: Source
    content: bytes


def lower_source(source: Source) -> Lowered:
    """Lowers the model at its input size."""
    return Lowered(source, lower(source.sized))
