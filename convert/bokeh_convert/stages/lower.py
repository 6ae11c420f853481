"""Converts the trained model to a float32 .tflite file."""

from __future__ import annotations

from dataclasses import dataclass

from bokeh_convert.graph.editor import Graph
from bokeh_convert.graph.to_tflite import lower
from bokeh_convert.passes.integer_input import remove_integer_input
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
    """Converts the trained model at its input size.

    Raises:
        InputError: If TFLite has no operator for one of the model's.
    """
    content = lower(source.sized)
    if source.sized.model.layout.takes_integers:
        graph = Graph(content)
        remove_integer_input(graph)
        content = graph.to_bytes()
    return Lowered(source, content)
