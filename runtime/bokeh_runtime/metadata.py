"""What a .tflite file says of itself: the JSON in its metadata entry `bokeh_tflite`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from bokeh_runtime.errors import InputError

ENTRY = "bokeh_tflite"
SCHEMA = "bokeh-tflite/model/1"


@dataclass(frozen=True)
class ModelMetadata:
    """What a model eats and what it is.

    Attributes:
        input_height, input_width: In pixels.
        input_channels: "rgb" or "rgbd" (the fourth is inverse depth, near is bright).
        value_range: Smallest and largest value of input and output; outputs are to be clipped.
        output_scale: Height of the output as a multiple of the input's.
        resampling: How photos were scaled to the input in training.
        scheme: "float32", "float16", "dynamic", "int8", "int16x8" or "full-integer".
        source: File name, format and SHA-256 of the trained model.
        tools: Versions of what made the file.
        fidelity: Picture against the full model: `vs`, `protocol`, `border_px`, `peak`, `images`,
            `psnr_db_mean`, `psnr_db_worst`, `ssim_mean`.
    """

    input_height: int
    input_width: int
    input_channels: str
    value_range: tuple[float, float]
    output_scale: float
    resampling: str
    scheme: str
    source: dict[str, str]
    tools: dict[str, str]
    fidelity: dict[str, Any]
    schema: str = SCHEMA

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, sort_keys=True, allow_nan=False)


def read_metadata(path: Path) -> ModelMetadata:
    """Reads the metadata of a .tflite file.

    Raises:
        InputError: If the file is missing, is no .tflite, or does not say what it is.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    if content[4:8] != b"TFL3":
        raise InputError(f"{path}: not a .tflite file; make one with bokeh-convert")
    text = _entry(schema.Model.GetRootAs(content))
    if text is None:
        raise InputError(f"{path}: has no metadata entry '{ENTRY}'; convert it with bokeh-convert")
    values = json.loads(text)
    if values.get("schema") != SCHEMA:
        raise InputError(
            f"{path}: metadata of schema {values.get('schema')}, this version reads {SCHEMA}; "
            "install the matching bokeh-tflite"
        )
    known = {field.name for field in fields(ModelMetadata)}
    kept = {name: value for name, value in values.items() if name in known}
    return ModelMetadata(**{**kept, "value_range": tuple(kept["value_range"])})


def _entry(model: Any) -> bytes | None:
    for i in range(model.MetadataLength()):
        entry = model.Metadata(i)
        if entry.Name() == ENTRY.encode():
            return bytes(model.Buffers(entry.Buffer()).DataAsNumpy().tobytes())
    return None
