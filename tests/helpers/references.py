"""Reference packs for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bokeh_runtime import TfliteModel
from bokeh_runtime.tflite.file import read_tflite
from bokeh_runtime.tflite.metadata import metadata_of
from bokeh_runtime.tflite.reference_pack import Reference, save_reference


def ranged_reference(model: Path, path: Path) -> Path:
    """Writes a pack with what a float model gives for values of its own ranges."""
    file = read_tflite(model)
    metadata = metadata_of(file)
    assert metadata is not None
    interpreter = TfliteModel(file.content, threads=1)  # scales nothing
    (low, high), (black, white) = (
        metadata.value_range,
        (metadata.output_range or metadata.value_range),
    )
    height, width, _ = interpreter.input_shape
    rows, columns = np.mgrid[0:height, 0:width]
    inputs, outputs = [], []
    for period in (5, 7):
        waves = [np.sin(rows / (period + i)) * np.cos(columns / (4 + i)) for i in range(3)]
        photo = (128 + 120 * np.dstack(waves)).astype(np.uint8)
        output = interpreter.run((photo / 255 * (high - low) + low).astype(np.float32))
        inputs.append(photo)
        outputs.append(np.clip((output - black) / (white - black), 0, 1).astype(np.float32))
    save_reference(path, Reference(["a", "b"], inputs, outputs))
    return path
