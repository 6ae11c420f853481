"""What is benchmarked: combinations of model, delegate and thread count, and the models' files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bokeh_bench.measure.references import FullModelReferences, ReferenceSample
from bokeh_bench.measure.rows import ModelFile
from bokeh_runtime.backends.delegates import EngineOptions
from bokeh_runtime.model import input_image_shape
from bokeh_runtime.tflite.file import TfliteFile, read_tflite
from bokeh_runtime.tflite.metadata import ModelMetadata, metadata_of
from bokeh_runtime.tflite.value_range import UNIT_RANGES, ImageRanges

WARM_UP_SECONDS = 10.0
"""Longest warm-up before the timed runs; it ends earlier once the run times are steady."""


@dataclass(frozen=True)
class BenchmarkCase:
    """One model on one delegate with one thread count: a row of the report.

    Attributes:
        model: The .tflite file.
        delegate: "cpu", "gpu", "nnapi", "npu" or "auto".
        threads: Number of CPU threads; None leaves it to the interpreter.
    """

    model: Path
    delegate: str
    threads: int | None


def benchmark_matrix(
    models: Sequence[Path], delegates: Sequence[str], threads: Sequence[int | None]
) -> list[BenchmarkCase]:
    """Returns every combination, in the order of the models.

    Thread counts vary for the delegates "cpu" and "auto" only; the others get the first one.
    """
    return [
        BenchmarkCase(model, delegate, count)
        for model in models
        for delegate in delegates
        for count in (threads if delegate in ("cpu", "auto") else threads[:1])
    ]


@dataclass(frozen=True)
class ModelUnderTest:
    """A model file that has been read, and the reference outputs of the full model.

    Attributes:
        file: The .tflite file, with the graph that runs first; see `choose_graph`.
        metadata: The file's own metadata; None if it has none.
        summary: The file as it is described in the report.
        reference_samples: Inputs and the full model's outputs; empty without a reference.
        notes: Remarks for the report's reader.
        ranges: Value ranges of the input and the output.
    """

    file: TfliteFile
    metadata: ModelMetadata | None
    summary: ModelFile
    reference_samples: Sequence[ReferenceSample]
    notes: Sequence[str]
    ranges: ImageRanges = UNIT_RANGES

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Height, width and channels of the input."""
        return self.file.tensors[self.file.inputs[0]].shape[1:]


def read_model_under_test(
    path: Path, full_model: FullModelReferences, engine: EngineOptions | None = None
) -> ModelUnderTest:
    """Reads a model file and its reference outputs.

    Args:
        path: The .tflite file.
        full_model: Source of the full model's reference outputs.
        engine: Its signature, size and value ranges; None for those that the file gives.

    Raises:
        InputError: If the file or the reference cannot be read, the model does not map an image to
            an image, or its signature or size must be given.
    """
    engine = engine or EngineOptions()
    whole = read_tflite(path)
    file = engine.graph_of(whole)
    metadata = metadata_of(file)
    shape = input_image_shape(file)
    ranges = engine.ranges_of(file)
    reference, notes = full_model.reference_for(path, metadata, shape, ranges)
    samples = (
        [
            ReferenceSample(name, network_input, np.asarray(output, np.float32))
            for name, network_input, output in zip(
                reference.names, reference.inputs, reference.outputs, strict=True
            )
        ]
        if reference
        else []
    )
    channels = {1: "luminance", 3: "RGB", 4: "RGB + depth"}[shape[2]]
    plain = ranges == (metadata.ranges if metadata else UNIT_RANGES)
    summary = ModelFile(
        path.name,
        whole.sha256,
        len(whole.content),
        metadata.scheme if metadata else "",
        f"{shape[0]} x {shape[1]} {channels}",
        file.signature,
        "" if plain else f"{ranges.input} to {ranges.output}",
    )
    return ModelUnderTest(file, metadata, summary, samples, notes, ranges)
