"""The JSON metadata of a converted .tflite file, in its metadata entry `bokeh_tflite`."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.resample import RESAMPLING
from bokeh_runtime.tflite.file import TfliteFile, read_tflite
from bokeh_runtime.tflite.value_range import ImageRanges, ValueRange

ENTRY = "bokeh_tflite"
SCHEMA = "bokeh-tflite/model/1"
SCHEMA_2 = "bokeh-tflite/model/2"
"""Has `output_range`, which a reader of schema 1 would ignore."""
CHANNELS = {1: "y", 3: "rgb", 4: "rgbd"}
"""`input_channels` by the number of channels."""


@dataclass(frozen=True)
class ModelMetadata:
    """Input and output contract, and provenance of a model.

    Attributes:
        input_height, input_width: Size of the input in pixels.
        input_channels: "rgb", "rgbd" with inverse depth (near is bright) as fourth channel, or "y"
            (luminance, and the output is luminance too).
        value_range: Values of black and white in the input, and in the output unless `output_range`
            is given. Outputs must be clipped to it.
        output_scale: Height of the output divided by the height of the input.
        resampling: How photos were resized to the input in training; see `resample.RESAMPLING`.
        scheme: "float32", "float16", "dynamic", "int8", "int16x8" or "full-integer".
        source: `file`, `format` and `sha256` (hash) of the trained model; `teacher_sha256` of the
            one that it was distilled from, if it was compared with that.
        tools: Versions of the packages that made the file.
        fidelity: Fidelity to the full model: `vs`, `protocol`, `border_px`, `peak`, `images`,
            `identical_images`, `psnr_db_mean`, `psnr_db_pooled`, `psnr_db_worst` (None if all
            images are identical), `ssim_mean`. Older files lack `psnr_db_pooled` and
            `identical_images`.
        schema: Name and version of this format.
        output_range: Values of black and white in the output; None if they are the input's.
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
    output_range: tuple[float, float] | None = None

    @property
    def ranges(self) -> ImageRanges:
        """The value ranges of the network's input and output."""
        own = self.value_range
        return ImageRanges(ValueRange(*own), ValueRange(*(self.output_range or own)))

    @property
    def full_models(self) -> set[str]:
        """Hashes of the models with which the file may be compared; none if they are unknown."""
        return {self.source[k] for k in ("sha256", "teacher_sha256") if self.source.get(k)}

    def to_json(self) -> str:
        """Returns the text of the metadata entry.

        The schema is 1 where a reader of schema 1 reads it right.
        """
        values = asdict(self)
        if self.output_range is None:
            del values["output_range"]
        else:
            values["schema"] = SCHEMA_2
        return json.dumps(values, indent=1, sort_keys=True, allow_nan=False)


def read_metadata(path: Path) -> ModelMetadata:
    """Reads the metadata of a .tflite file.

    Raises:
        InputError: If the file is missing, damaged, no .tflite file, or has no metadata.
    """
    metadata = metadata_of(read_tflite(path))
    if metadata is None:
        raise InputError(f"{path}: has no metadata entry '{ENTRY}'; convert it with bokeh-convert")
    return metadata


def metadata_of(file: TfliteFile) -> ModelMetadata | None:
    """Returns the metadata of a file; None if it has no entry `bokeh_tflite`.

    Raises:
        InputError: If the entry is damaged or has another schema version.
    """
    text = file.metadata.get(ENTRY)
    if text is None:
        return None
    try:
        values = json.loads(text)
        if values.get("schema") not in (SCHEMA, SCHEMA_2):
            raise InputError(
                f"{file.path}: its metadata has schema {values.get('schema')}, but this version "
                f"reads {SCHEMA}; install the matching bokeh-tflite"
            )
        known = {field.name for field in fields(ModelMetadata)}
        known_values = {name: value for name, value in values.items() if name in known}
        _check_types(known_values)
        for name in ("value_range", "output_range"):
            if known_values.get(name) is not None:
                known_values[name] = tuple(known_values[name])
        metadata = ModelMetadata(**known_values)
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        OverflowError,
    ) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{file.path}: its metadata entry '{ENTRY}' is damaged ({error}); convert it again"
        ) from error
    if metadata.resampling not in RESAMPLING:
        raise InputError(
            f"{file.path}: its resampling '{metadata.resampling}' is not supported by this version "
            f"({' and '.join(RESAMPLING)} are); install the matching bokeh-tflite"
        )
    return metadata


def _check_types(values: dict[str, Any]) -> None:
    """Checks the types of the values.

    Raises:
        TypeError: If a value has the wrong type.
        KeyError: If a value is missing.
    """
    low, high = values["value_range"]
    output_low, output_high = values.get("output_range") or (low, high)
    expected: tuple[tuple[str, Any, type | tuple[type, ...]], ...] = (
        ("input_height", values["input_height"], int),
        ("input_width", values["input_width"], int),
        ("input_channels", values["input_channels"], str),
        ("value_range", low, (int, float)),
        ("value_range", high, (int, float)),
        ("output_range", output_low, (int, float)),
        ("output_range", output_high, (int, float)),
        ("output_scale", values["output_scale"], (int, float)),
        ("resampling", values["resampling"], str),
        ("scheme", values["scheme"], str),
        ("fidelity", values["fidelity"], dict),
        *((name, values[name], dict) for name in ("source", "tools")),
        *((name, text, str) for name in ("source", "tools") for text in values[name].values()),
    )
    for name, pair in (("value_range", (low, high)), ("output_range", (output_low, output_high))):
        if all(isinstance(end, int | float) for end in pair) and not pair[0] < pair[1]:
            raise TypeError(f"{name} is {pair[0]:g} to {pair[1]:g}")
    for name, value, kind in expected:
        if not isinstance(value, kind):
            raise TypeError(f"{name} is {str(value)[:40]}")
        if isinstance(value, float) and not math.isfinite(value):
            raise TypeError(f"{name} is {value}")
        if isinstance(value, str) and not value.isprintable():
            raise TypeError(f"{name} contains control characters")
