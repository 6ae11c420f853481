"""Measures the ranges of a network's activations on photos.

Each tensor's smallest and largest value are computed inside the graph, by operators appended for
that: so no activation has to be kept or copied, and the memory is that of running the model.
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


@dataclass(frozen=True)
class ActivationRanges:
    """Ranges of every float activation.

    Attributes:
        names: Of the tensors.
        input, output: Which of them the network reads and draws.
        minima, maxima: float32 [photos, tensors].
    """

    names: tuple[str, ...]
    input: str
    output: str
    minima: npt.NDArray[np.float32]
    maxima: npt.NDArray[np.float32]

    def typical(self) -> dict[str, tuple[float, float]]:
        """Returns each tensor's range averaged over the photos.

        A single photo's extreme then costs the others no precision.
        """
        return self._by_name(self.minima.mean(axis=0), self.maxima.mean(axis=0))

    def whole(self) -> dict[str, tuple[float, float]]:
        """Returns each tensor's range over all photos."""
        return self._by_name(self.minima.min(axis=0), self.maxima.max(axis=0))

    def _by_name(
        self, lows: npt.NDArray[np.float32], highs: npt.NDArray[np.float32]
    ) -> dict[str, tuple[float, float]]:
        ranges = {n: (float(a), float(b)) for n, a, b in zip(self.names, lows, highs, strict=True)}
        # A photo and a picture are 0 to 1 whatever was seen; the network's overshoot is clipped.
        return {**ranges, self.input: (0.0, 1.0), self.output: (0.0, 1.0)}


def measure_ranges(
    float32: bytes, photos: Iterable[FloatImage], *, threads: int
) -> ActivationRanges:
    """Runs a float32 .tflite file on photos and notes each activation's range.

    Args:
        float32: The file, with one subgraph.
        photos: Inputs, float [height, width, channels]; read as a stream.
        threads: CPU threads.

    Raises:
        ValueError: If there is no photo.
    """
    content, names, ends = _with_ranges(float32)
    interpreter = Interpreter(model_content=content, num_threads=threads)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    scalars = [detail["index"] for detail in interpreter.get_output_details()]
    found = []
    for photo in photos:
        interpreter.set_tensor(source, photo[None])
        interpreter.invoke()
        found.append([float(interpreter.get_tensor(end)) for end in scalars])
    if not found:
        raise ValueError("no photo to measure the ranges on")
    values = np.array(found, np.float32)
    split = len(names)
    return ActivationRanges(tuple(names), *ends, values[:, :split], values[:, split:])


def _with_ranges(float32: bytes) -> tuple[bytes, list[str], tuple[str, str]]:
    """Returns the file with each activation's minimum and then maximum as its outputs.

    Also the names of the activations, and those of the network's input and output.
    """
    graph = Graph(float32)
    names: list[str] = []
    minima: list[int] = []
    maxima: list[int] = []

    def reductions(index: int) -> list[Operator]:
        """Notes an activation and returns the operators that find its ends."""
        tensor = graph.tensors[index]
        if tensor.type != TensorType.FLOAT32:
            return []
        rank = len(tensor.shape)
        made = []
        for kind, found in ((Op.REDUCE_MIN, minima), (Op.REDUCE_MAX, maxima)):
            found.append(graph.add_tensor(f"end_{kind}_{index}", TensorType.FLOAT32, []))
            sources = [index, graph.axes_constant(*range(rank))]
            made.append(graph.new_operator(kind, sources, [found[-1]], schema.ReducerOptionsT()))
        names.append(graph.name(index))
        return made

    ends = (graph.name(graph.inputs[0]), graph.name(graph.outputs[0]))
    operators = reductions(graph.inputs[0])
    for operator in graph.operators:
        # At once, so that the memory of an activation is free again as early as before.
        operators += [operator, *(op for i in operator.outputs for op in reductions(int(i)))]
    graph.operators = operators
    graph.set_inputs_outputs(graph.inputs, [*minima, *maxima])
    return graph.to_bytes(), names, ends
