"""Writes the model's metadata into a .tflite file."""

from __future__ import annotations

from bokeh_convert.graph.editor import Graph
from bokeh_runtime.tflite.metadata import ENTRY, ModelMetadata


def write_metadata(content: bytes, metadata: ModelMetadata) -> bytes:
    """Returns the file with `metadata` as its metadata entry `bokeh_tflite`."""
    graph = Graph(content)
    graph.set_metadata(ENTRY, metadata.to_json().encode())
    return graph.to_bytes()
