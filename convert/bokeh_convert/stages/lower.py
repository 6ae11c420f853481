"""Converts the trained model to a float32 .tflite file."""

from __future__ import annotations

from dataclasses import dataclass

from bokeh_convert.graph.to_tflite import lower
from bokeh_convert.stages.read import Source


@dataclass(frozen=True)
class Lowered:
    """The trained model as a float32 .tflite file, as TensorFlow's converter writes it.

    Attributes:
        source: The trained model, photos and reference.
        content: The bytes of the file.
    """

    source: Source
    content: bytes


def lower_source(source: Source) -> Lowered:
    """Converts the trained model at its input size."""
    return Lowered(source, lower(source.sized))
