"""Calibration: measures the activations of a network on photos.

Operators added to the graph reduce each large activation to the range of each channel, and to a
sample of its pixels. So no activation has to be kept or copied, and calibration needs little more
memory than inference.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from bokeh_convert.graph.editor import Graph
from bokeh_convert.graph.schema_views import Op, Operator, TensorType
from bokeh_convert.quantize.activation_statistics import ActivationStatistics, TensorStatistics
from bokeh_runtime.imaging.photo import FloatImage
from bokeh_runtime.tflite.value_range import UNIT_RANGES, ImageRanges

MAX_SAMPLES = 16_384
"""Values of an activation that are kept per photo."""


@dataclass(frozen=True)
class _Probe:
    """The outputs of the graph from which the statistics of an activation are computed.

    Attributes:
        minimum, maximum: Range of each channel, from all pixels; None if `sample` has all.
        sample: Some or all pixels.
    """

    name: str
    minimum: int | None
    maximum: int | None
    sample: int


def measure_activations(
    float32: bytes,
    photos: Iterable[FloatImage],
    images: ImageRanges = UNIT_RANGES,
    *,
    names: Collection[str] | None = None,
    threads: int,
) -> ActivationStatistics:
    """Runs a float32 .tflite file on photos and measures its activations.

    Args:
        float32: The file, with one subgraph.
        photos: Network inputs, float [height, width, channels] in [0, 1]; read one at a time.
        images: Value ranges of the network's input and output.
        names: Names of the activations to measure; None for all that are float.
        threads: CPU threads.

    Raises:
        ValueError: If there are no photos.
    """
    content, probes, (input_name, output_name) = _with_probes(float32, names)
    interpreter = Interpreter(model_content=content, num_threads=threads)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    outputs = [detail["index"] for detail in interpreter.get_output_details()]
    minima: dict[str, list[npt.NDArray[np.float32]]] = {probe.name: [] for probe in probes}
    maxima: dict[str, list[npt.NDArray[np.float32]]] = {probe.name: [] for probe in probes}
    samples: dict[str, list[npt.NDArray[np.float32]]] = {probe.name: [] for probe in probes}
    for photo in photos:
        interpreter.set_tensor(source, images.input.from_unit(photo)[None])
        interpreter.invoke()
        values = [interpreter.get_tensor(index) for index in outputs]
        for probe in probes:
            sample = values[probe.sample]
            sample = sample.reshape(-1, sample.shape[-1] if sample.ndim else 1)
            samples[probe.name].append(sample)
            for found, index, reduce in (
                (minima, probe.minimum, np.min),
                (maxima, probe.maximum, np.max),
            ):
                exact = reduce(sample, axis=0) if index is None else values[index].reshape(-1)
                found[probe.name].append(exact)
    if not any(minima.values()):
        raise ValueError("no photos to measure the activations on")
    tensors: Mapping[str, TensorStatistics] = {
        name: TensorStatistics(np.stack(minima[name]), np.stack(maxima[name]), np.stack(found))
        for name, found in samples.items()
    }
    return ActivationStatistics(tensors, input_name, output_name, images)


def _with_probes(
    float32: bytes, wanted: Collection[str] | None
) -> tuple[bytes, list[_Probe], tuple[str, str]]:
    """Returns the file with the probes' tensors as its outputs.

    Also the probes, and the names of the network's input and output.
    """
    graph = Graph(float32)
    probes: list[_Probe] = []
    outputs: list[int] = []

    def output(tensor: int) -> int:
        outputs.append(tensor)
        return len(outputs) - 1

    def probe(tensor: int) -> list[Operator]:
        """Adds the probe of a tensor and returns its operators; none if it is not float."""
        described, name = graph.tensors[tensor], graph.name(tensor)
        if described.type != TensorType.FLOAT32 or (wanted is not None and name not in wanted):
            return []
        if math.prod(described.shape) <= MAX_SAMPLES and tensor not in graph.inputs:
            probes.append(_Probe(name, None, None, output(tensor)))
            return []
        added, found = [], []
        channels = list(described.shape[-1:])
        for kind in (Op.REDUCE_MIN, Op.REDUCE_MAX):
            result = graph.add_tensor(f"range_{kind}_{tensor}", TensorType.FLOAT32, channels)
            axes = graph.axes_constant(*range(len(described.shape) - 1))
            added.append(
                graph.new_operator(kind, [tensor, axes], [result], schema.ReducerOptionsT())
            )
            found.append(output(result))
        added.append(_sampling(graph, tensor))
        sample = output(added[-1].outputs[0])
        probes.append(_Probe(name, found[0], found[1], sample))
        return added

    ends = (graph.name(graph.inputs[0]), graph.name(graph.outputs[0]))
    operators = probe(graph.inputs[0])
    for operator in graph.operators:
        # Right after the operator, so that the memory of its output is freed as early as before.
        operators += [operator, *(op for i in operator.outputs for op in probe(int(i)))]
    graph.operators = operators
    graph.set_inputs_outputs(graph.inputs, outputs)
    return graph.to_bytes(), probes, ends


def _sampling(graph: Graph, tensor: int) -> Operator:
    """Returns an operator that keeps every nth row and column."""
    shape = list(graph.tensors[tensor].shape)
    strides = [1] * len(shape)
    sides = range(1, len(shape) - 1)

    def kept() -> list[int]:
        return [math.ceil(size / step) for size, step in zip(shape, strides, strict=True)]

    while math.prod(kept()) > MAX_SAMPLES and any(kept()[side] > 1 for side in sides):
        largest = max(sides, key=lambda side: kept()[side])
        strides[largest] += 1
    name = f"sample_{tensor}"
    result = graph.add_tensor(name, TensorType.FLOAT32, kept())
    if len(shape) == 4:
        # A depthwise convolution with ones: XNNPACK computes that, and the graph stays in one part,
        # which takes less memory than many.
        ones = graph.add_constant(f"{name}_ones", np.ones((1, 1, 1, shape[-1]), np.float32))
        options = schema.DepthwiseConv2DOptionsT()
        options.padding, options.depthMultiplier = schema.Padding.VALID, 1
        options.strideH, options.strideW = strides[1:3]
        options.dilationHFactor = options.dilationWFactor = 1
        bias = graph.add_constant(f"{name}_bias", np.zeros(shape[-1], np.float32))
        return graph.new_operator(Op.DEPTHWISE_CONV_2D, [tensor, ones, bias], [result], options)
    begin, end, step = (
        graph.add_constant(f"{name}_{part}", np.array(values, np.int32))
        for part, values in (("begin", [0] * len(shape)), ("end", shape), ("strides", strides))
    )
    return graph.new_operator(
        Op.STRIDED_SLICE, [tensor, begin, end, step], [result], schema.StridedSliceOptionsT()
    )
