"""Calibration: measures the ranges of a network's activations on photos.

REDUCE_MIN and REDUCE_MAX operators, added to the graph, compute the range of each tensor. So no
activation has to be kept or copied, and calibration needs no more memory than inference.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from bokeh_convert.graph.editor import Graph
from bokeh_convert.graph.schema_views import Op, Operator, TensorType
from bokeh_runtime.imaging.photo import FloatImage
from bokeh_runtime.tflite.value_range import UNIT_RANGES, ImageRanges


@dataclass(frozen=True)
class ActivationRanges:
    """Ranges of all float activations, per photo.

    Attributes:
        names: Names of the tensors.
        input, output: Which of these are the network input and the network output.
        minima, maxima: float32 [photos, tensors].
        images: Value ranges of the network's input and output.
    """

    names: tuple[str, ...]
    input: str
    output: str
    minima: npt.NDArray[np.float32]
    maxima: npt.NDArray[np.float32]
    images: ImageRanges = UNIT_RANGES

    def averaged(self) -> dict[str, tuple[float, float]]:
        """Returns (minimum, maximum) of each tensor, averaged over the photos.

        An outlier in one photo then costs less precision in the others.
        """
        return self._by_name(self.minima.mean(axis=0), self.maxima.mean(axis=0))

    def min_max(self) -> dict[str, tuple[float, float]]:
        """Returns (minimum, maximum) of each tensor over all photos."""
        return self._by_name(self.minima.min(axis=0), self.maxima.max(axis=0))

    def _by_name(
        self, minima: npt.NDArray[np.float32], maxima: npt.NDArray[np.float32]
    ) -> dict[str, tuple[float, float]]:
        ranges = {
            name: (float(low), float(high))
            for name, low, high in zip(self.names, minima, maxima, strict=True)
        }
        # Images are in their value ranges, whatever was measured; overshoot is clipped.
        ends = ((self.input, self.images.input), (self.output, self.images.output))
        return {**ranges, **{name: (own.low, own.high) for name, own in ends}}


def measure_ranges(
    float32: bytes,
    photos: Iterable[FloatImage],
    images: ImageRanges = UNIT_RANGES,
    *,
    threads: int,
) -> ActivationRanges:
    """Runs a float32 .tflite file on photos and measures the range of each activation.

    Args:
        float32: The file, with one subgraph.
        photos: Network inputs, float [height, width, channels] in [0, 1]; read one at a time.
        images: Value ranges of the network's input and output.
        threads: CPU threads.

    Raises:
        ValueError: If there are no photos.
    """
    content, names, (input_name, output_name) = _with_ranges(float32)
    interpreter = Interpreter(model_content=content, num_threads=threads)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    scalars = [detail["index"] for detail in interpreter.get_output_details()]
    rows = []
    for photo in photos:
        interpreter.set_tensor(source, images.input.from_unit(photo)[None])
        interpreter.invoke()
        rows.append([float(interpreter.get_tensor(scalar)) for scalar in scalars])
    if not rows:
        raise ValueError("no photos to measure the activation ranges on")
    values = np.array(rows, np.float32)
    split = len(names)
    return ActivationRanges(
        tuple(names), input_name, output_name, values[:, :split], values[:, split:], images
    )


def _with_ranges(float32: bytes) -> tuple[bytes, list[str], tuple[str, str]]:
    """Returns the file with all minima and then all maxima of the activations as its outputs.

    Also the names of the activations, and those of the network's input and output.
    """
    graph = Graph(float32)
    names: list[str] = []
    minima: list[int] = []
    maxima: list[int] = []

    def reductions(index: int) -> list[Operator]:
        """Returns the operators that compute the range of a tensor; none if it is not float."""
        tensor = graph.tensors[index]
        if tensor.type != TensorType.FLOAT32:
            return []
        rank = len(tensor.shape)
        added = []
        for kind, results in ((Op.REDUCE_MIN, minima), (Op.REDUCE_MAX, maxima)):
            results.append(graph.add_tensor(f"range_{kind}_{index}", TensorType.FLOAT32, []))
            sources = [index, graph.axes_constant(*range(rank))]
            added.append(graph.new_operator(kind, sources, [results[-1]], schema.ReducerOptionsT()))
        names.append(graph.name(index))
        return added

    ends = (graph.name(graph.inputs[0]), graph.name(graph.outputs[0]))
    operators = reductions(graph.inputs[0])
    for operator in graph.operators:
        # Right after the operator, so that the memory of its output is freed as early as before.
        operators += [operator, *(op for i in operator.outputs for op in reductions(int(i)))]
    graph.operators = operators
    graph.set_inputs_outputs(graph.inputs, [*minima, *maxima])
    return graph.to_bytes(), names, ends
