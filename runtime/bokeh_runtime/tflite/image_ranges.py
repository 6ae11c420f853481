"""The value ranges of a .tflite file, by its metadata or by its quantization."""

from __future__ import annotations

from bokeh_runtime.tflite.file import Tensor, TfliteFile
from bokeh_runtime.tflite.metadata import metadata_of
from bokeh_runtime.tflite.value_range import (
    BYTES,
    UNIT,
    ImageRanges,
    ValueRange,
    nearest_standard,
)

_LEVELS = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767)}


def ranges_of(
    file: TfliteFile,
    input_range: ValueRange | None = None,
    output_range: ValueRange | None = None,
) -> ImageRanges:
    """Returns the value ranges of a file's input and image output.

    Args:
        file: The file.
        input_range: What the user says of the input; None goes by the file's metadata, then by the
            quantization of an integer tensor (a scale of 1.0 means 0..255), then by 0..1.
        output_range: The same of the output.

    Raises:
        InputError: If the metadata cannot be read.
    """
    metadata = metadata_of(file)
    if metadata is not None:
        known = metadata.ranges
    else:
        known = ImageRanges(
            _quantized_range(file.tensors[file.inputs[0]]),
            _quantized_range(file.tensors[file.outputs[file.image_output_index]]),
        )
    return ImageRanges(input_range or known.input, output_range or known.output)


def _quantized_range(tensor: Tensor) -> ValueRange:
    levels = _LEVELS.get(tensor.dtype)
    if levels is None:
        return UNIT
    scale, zero_point = tensor.quantization
    if scale <= 0:
        return BYTES  # integers that are not quantized are the bytes of the image
    ends = ValueRange(*((level - zero_point) * scale for level in levels))
    return nearest_standard(ends) or ends
