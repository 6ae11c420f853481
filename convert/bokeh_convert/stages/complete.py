"""Adds the metadata to a file, which is complete then."""

from __future__ import annotations

from dataclasses import dataclass

from bokeh_convert.graph.model_metadata import write_metadata
from bokeh_convert.report import metadata_fidelity, tool_versions
from bokeh_convert.sources.float_model import FloatModel
from bokeh_convert.stages.judge import Judged
from bokeh_convert.stages.read import Source
from bokeh_runtime.tflite.metadata import CHANNELS, ModelMetadata


@dataclass(frozen=True)
class Completed:
    """A file as it is written.

    Attributes:
        judged: The file without metadata, and whether it passed.
        metadata: Its metadata.
        content: The bytes of the file with its metadata.
    """

    judged: Judged
    metadata: ModelMetadata
    content: bytes


def complete_file(judged: Judged, source: Source) -> Completed:
    """Adds the metadata to a file."""
    metadata = _metadata(judged, source)
    content = write_metadata(judged.verified.quantized.content, metadata)
    return Completed(judged, metadata, content)


def provenance_of(model: FloatModel) -> dict[str, str]:
    """Returns file name, format and hash of a trained model."""
    return {"file": model.path.name, "format": model.format, "sha256": model.sha256}


def _source(source: Source) -> dict[str, str]:
    found = provenance_of(source.sized.model)
    if source.teacher is not None:
        found["teacher_sha256"] = source.teacher.model.sha256
    return found


def output_size(source: Source) -> dict[str, int]:
    """Returns height and width of the network's output in pixels."""
    height, width = source.reference.outputs[0].shape[:2]
    return {"height": height, "width": width}


def _metadata(file: Judged, source: Source) -> ModelMetadata:
    sized, ranges = source.sized, source.sized.ranges
    return ModelMetadata(
        input_height=sized.height,
        input_width=sized.width,
        input_channels=CHANNELS[sized.model.channels],
        value_range=(ranges.input.low, ranges.input.high),
        output_range=(
            None if ranges.output == ranges.input else (ranges.output.low, ranges.output.high)
        ),
        output_scale=output_size(source)["height"] / sized.height,
        resampling=sized.model.resampling,
        scheme=file.verified.quantized.scheme.name,
        source=_source(source),
        tools=tool_versions(),
        fidelity=metadata_fidelity(file.verified.fidelity, emulated=file.verified.emulated),
    )
