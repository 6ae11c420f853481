"""Runs one conversion in a process of its own, and measures its time and peak memory.

`python -m bokeh_bench.workers.conversion JSON` prints JSON; `bokeh_bench.studies.conversion` calls
it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bokeh_bench.machine import peak_rss_bytes
from bokeh_convert.api import SCHEME_NAMES

if TYPE_CHECKING:
    from bokeh_convert.data.calibration_data import Sample
    from bokeh_convert.sources.float_model import SizedModel

BOKEH_CONVERT, TFLITE_CONVERTER, LITERT_QUANTIZER = (
    "bokeh-convert",
    "TFLiteConverter",
    "litert-quantizer",
)
_KINDS = ("float16", "dynamic", "int8", "int16x8", "full-integer")
METHODS = (
    *(f"{BOKEH_CONVERT} {scheme}" for scheme in SCHEME_NAMES),
    *(f"{TFLITE_CONVERTER} {kind}" for kind in _KINDS),
    *(f"{LITERT_QUANTIZER} {recipe}" for recipe in ("static_wi8_ai8", "dynamic_wi8_afp32")),
)


def with_bokeh_convert(
    path: Path,
    scheme: str,
    size: tuple[int, int],
    photos: Path | None,
    out: Path,
    threads: int,
) -> dict[str, Any]:
    """Converts as the command `bokeh-convert` does, including verification."""
    from bokeh_convert import convert

    (made,) = convert(
        path,
        quant=[scheme],
        size=size,
        representative_dataset=photos,
        # As the other converters are fed; also said of untrained networks, of which no range fits.
        input_range="0..1",
        output_range="0..1",
        output_dir=out,
        threads=threads,
    )
    timings = made.report.timings
    if made.report.fidelity is None:
        raise RuntimeError(f"verification failed: {made.report.failure}")
    return {
        "file": str(made.path),
        "convert_s": sum(
            timings.get(stage, 0) for stage in ("lower_s", "calibrate_s", "quantize_s")
        ),
        "fidelity": made.report.fidelity,
    }


def with_tflite_converter(
    path: Path, kind: str, size: tuple[int, int], photos: Path | None, out: Path
) -> dict[str, Any]:
    """Converts as TensorFlow's guides describe.

    "int8" and "int16x8" may fall back to float operators, which is the guides' default.
    "full-integer" may not, and has uint8 input and output.
    """
    import tensorflow as tf

    from bokeh_convert.graph.to_tflite import frozen_converter
    from bokeh_convert.sources import read_model

    sized = read_model(path).at(*size)
    began = time.monotonic()
    converter = frozen_converter(sized)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if kind in ("int8", "int16x8", "full-integer"):
        converter.representative_dataset = lambda: ([x] for x in _inputs(sized, photos))
    operators = tf.lite.OpsSet
    if kind == "int16x8":
        converter.target_spec.supported_ops = [
            operators.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
            operators.TFLITE_BUILTINS,
        ]
    if kind == "full-integer":
        converter.target_spec.supported_ops = [operators.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.uint8
    file = out / f"plain_{kind}.tflite"
    file.write_bytes(converter.convert())
    return {"file": str(file), "convert_s": time.monotonic() - began}


def with_litert_quantizer(
    path: Path, name: str, size: tuple[int, int], photos: Path | None, out: Path
) -> dict[str, Any]:
    """Converts with one of litert-quantizer's own recipes, unchanged."""
    from litert_quantizer import quantizer, recipe

    from bokeh_convert.graph.to_tflite import SIGNATURE, lower
    from bokeh_convert.sources import read_model
    from bokeh_convert.sources.float_model import INPUT_NAME

    sized = read_model(path).at(*size)
    began = time.monotonic()
    tool = quantizer.Quantizer(lower(sized), getattr(recipe, name)())
    ranges = None
    if tool.need_calibration:
        inputs = [{INPUT_NAME: x} for x in _inputs(sized, photos)]
        ranges = tool.calibrate({SIGNATURE: inputs})
    file = out / f"{name}.tflite"
    file.write_bytes(tool.quantize(ranges).quantized_model)
    return {"file": str(file), "convert_s": time.monotonic() - began}


def calibration_photos(photos: Path | None, channels: int) -> Sequence[Sample]:
    """Returns the photos that bokeh-convert calibrates on.

    Args:
        photos: Folder of photos; None for those that ship with the package.
        channels: Channels of the network input.
    """
    from bokeh_convert.data.calibration_data import split_dataset

    return split_dataset(photos, channels=channels, count=100, seed=0).calibration


def _inputs(sized: SizedModel, photos: Path | None) -> Iterator[npt.NDArray[np.float32]]:
    """Yields bokeh-convert's calibration inputs, [1, height, width, channels] each."""
    from bokeh_convert.data.calibration_data import to_network_input
    from bokeh_convert.verify.verification import read_input_pixels

    for sample in calibration_photos(photos, sized.model.channels):
        pixels = read_input_pixels(sample, sized)
        yield np.expand_dims(to_network_input(pixels), 0)


def main() -> None:
    """Runs the conversion that the first argument describes as JSON, and prints the result."""
    request = json.loads(sys.argv[1])
    path, out, size = Path(request["path"]), Path(request["out"]), tuple(request["size"])
    tool, setting = request["method"].split()
    photos = Path(request["photos"]) if request["photos"] else None
    if tool == BOKEH_CONVERT:
        result = with_bokeh_convert(path, setting, size, photos, out, request["threads"])
    else:
        convert = with_tflite_converter if tool == TFLITE_CONVERTER else with_litert_quantizer
        result = convert(path, setting, size, photos, out)
    sys.stdout.write(json.dumps({**result, "peak_rss_bytes": peak_rss_bytes()}) + "\n")


if __name__ == "__main__":
    main()
