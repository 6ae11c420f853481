"""Finds the value ranges of the trained model, and checks that its output follows the photos."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from bokeh_convert.data.calibration_data import Sample, to_network_input
from bokeh_convert.sources.float_model import SizedModel
from bokeh_convert.sources.value_range_choice import FoundRanges, choose_ranges
from bokeh_convert.sources.value_range_evidence import (
    Evidence,
    Graph,
    input_evidence,
    output_evidence,
)
from bokeh_convert.verify.verification import has_contrast, read_input_pixels
from bokeh_runtime.imaging.photo import FloatImage
from bokeh_runtime.tflite.value_range import BYTES, UNIT, ValueRange

_PHOTOS = 2


def find_ranges(
    sized: SizedModel,
    samples: Sequence[Sample],
    *,
    input_range: str | None = None,
    output_range: str | None = None,
    evidence_first: bool = False,
) -> tuple[SizedModel, FoundRanges]:
    """Returns the model with its value ranges, and how they were found.

    Args:
        sized: The model.
        samples: Photos to run it on; the first that are not nearly uniform are used.
        input_range: See `bokeh_convert.api.convert`.
        output_range: Likewise.
        evidence_first: Whether what the network shows of a range counts more than what is given, as
            for a teacher, whose ranges need not be those of its student. The reasons say then where
            the given ones were taken.

    Raises:
        InputError: If no value range makes the output follow the photos, or several do.
    """
    frozen = convert_variables_to_constants_v2(sized.concrete)
    graph = Graph(frozen.graph.as_graph_def(), frozen.inputs[0].op.name, frozen.outputs[0].op.name)
    evidence = input_evidence(graph)
    if sized.model.layout.takes_integers:
        evidence = Evidence(BYTES, "its input is uint8")
    if evidence is None and sized.model.format in ("weights-h5", "tf1-checkpoint"):
        evidence = Evidence(UNIT, "it is a PyNET")
    shown = output_evidence(graph)
    asked_input, asked_output = _parsed(input_range), _parsed(output_range)
    if evidence_first:
        asked_input = None if evidence else asked_input
        asked_output = None if shown else asked_output
    found = choose_ranges(
        str(sized.model.path),
        partial(_run, sized),
        _images(sized, samples),
        asked_input=asked_input,
        asked_output=asked_output,
        input_evidence=evidence,
        output_evidence=shown,
    )
    if evidence_first:
        asked = (("input", asked_input), ("output", asked_output))
        taken = [f"{side} range {one}, as given" for side, one in asked if one is not None]
        found = replace(found, reasons=(*taken, *found.reasons))
    layout = sized.model.layout
    if layout.depth is not None and found.ranges.input != UNIT:
        # The photo's range is that of the whole tensor, and the depth map's is its own.
        rescaled = replace(layout, depth_range=found.ranges.input)
        sized = replace(sized.model, layout=rescaled).at(sized.height, sized.width)
    return replace(sized, ranges=found.ranges), found


def _images(sized: SizedModel, samples: Sequence[Sample]) -> list[FloatImage]:
    read = (read_input_pixels(sample, sized) for sample in samples)
    telling = list(itertools.islice(filter(has_contrast, read), _PHOTOS))
    if not telling:
        telling = [read_input_pixels(sample, sized) for sample in samples[:_PHOTOS]]
    return [to_network_input(pixels) for pixels in telling]


def _run(sized: SizedModel, image: FloatImage, value_range: ValueRange) -> FloatImage:
    """Runs the model on an image in [0, 1], of which the photo is scaled to a range."""
    if sized.model.layout.depth is None:
        return sized.run_raw(value_range.from_unit(image))
    photo, depth = image[..., :3], image[..., 3:]
    return sized.run_raw(np.concatenate([value_range.from_unit(photo), depth], axis=2))


def _parsed(value_range: str | None) -> ValueRange | None:
    return None if value_range is None else ValueRange.parse(value_range)
