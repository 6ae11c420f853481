"""Converts the trained model to a float32 .tflite file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bokeh_convert.graph.editor import Graph
from bokeh_convert.graph.to_tflite import lower
from bokeh_convert.passes.fake_quantization import Range, remove_fake_quantization
from bokeh_convert.passes.integer_input import remove_integer_input
from bokeh_convert.stages.read import Source


@dataclass(frozen=True)
class Lowered:
    """The trained model as a float32 .tflite file, as TensorFlow's converter writes it.

    Attributes:
        source: The trained model, photos and reference.
        content: The bytes of the file. Of fake quantization it clips alone.
        trained_ranges: (minimum, maximum) of the activations that were rounded in training, by
            name; their rounding is not in the file.
        without_clipping: The same for int8 in these ranges, which clips by itself; None if nothing
            is clipped.
    """

    source: Source
    content: bytes
    trained_ranges: Mapping[str, Range] = field(default_factory=dict)
    without_clipping: Lowered | None = None


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
    graph = Graph(content)
    ranges = remove_fake_quantization(graph, clip=False)
    lowered = Lowered(source, graph.to_bytes(), ranges)
    if not ranges:
        return lowered
    clipping = Graph(content)
    remove_fake_quantization(clipping, clip=True)
    return Lowered(source, clipping.to_bytes(), ranges, lowered)
