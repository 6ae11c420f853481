"""Finds the value ranges of the trained model, and checks that its output follows the photos."""

from __future__ import annotations

from dataclasses import replace

from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from bokeh_convert.data.calibration_data import DatasetSplit, to_network_input
from bokeh_convert.options import ConvertOptions
from bokeh_convert.sources.float_model import SizedModel
from bokeh_convert.sources.value_range_choice import FoundRanges, choose_ranges
from bokeh_convert.sources.value_range_evidence import (
    Evidence,
    Graph,
    input_evidence,
    output_evidence,
)
from bokeh_convert.verify.verification import read_input_pixels
from bokeh_runtime.tflite.value_range import BYTES, ValueRange

_PHOTOS = 2


def find_ranges(
    sized: SizedModel, dataset: DatasetSplit, options: ConvertOptions
) -> tuple[SizedModel, FoundRanges]:
    """Returns the model with its value ranges, and how they were found.

    Raises:
        InputError: If no value range makes the output follow the photos, or several do.
    """
    frozen = convert_variables_to_constants_v2(sized.concrete)
    graph = Graph(frozen.graph.as_graph_def(), frozen.inputs[0].op.name, frozen.outputs[0].op.name)
    evidence = input_evidence(graph)
    if sized.model.layout.takes_integers:
        evidence = Evidence(BYTES, "its input is uint8")
    samples = [*dataset.verification, *dataset.calibration][:_PHOTOS]
    found = choose_ranges(
        str(sized.model.path),
        sized.run_raw,
        [to_network_input(read_input_pixels(sample, sized)) for sample in samples],
        asked_input=_parsed(options.input_range),
        asked_output=_parsed(options.output_range),
        input_evidence=evidence,
        output_evidence=output_evidence(graph),
    )
    return replace(sized, ranges=found.ranges), found


def _parsed(value_range: str | None) -> ValueRange | None:
    return None if value_range is None else ValueRange.parse(value_range)
