"""Reads photos as network inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bokeh_convert.data.calibration_data import Sample, to_network_input
from bokeh_convert.sources.float_model import SizedModel
from bokeh_convert.verify.verification import read_input_pixels
from bokeh_runtime.imaging.photo import FloatImage


def network_inputs(samples: Sequence[Sample], sized: SizedModel) -> Iterator[FloatImage]:
    """Yields photos at the size of the network, float [height, width, channels] in [0, 1]."""
    for sample in samples:
        yield to_network_input(read_input_pixels(sample, sized))
