"""Writes into a .tflite file what it is."""

from __future__ import annotations

from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from bokeh_runtime.metadata import ENTRY, ModelMetadata


def describe(content: bytes, metadata: ModelMetadata) -> bytes:
    """Returns the file with `metadata` in its metadata entry `bokeh_tflite`."""
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    buffer = schema.BufferT()
    buffer.data = list(metadata.to_json().encode())
    entry = schema.MetadataT()
    entry.name = ENTRY
    entry.buffer = len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), entry]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))
