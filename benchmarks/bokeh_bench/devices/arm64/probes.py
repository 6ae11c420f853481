"""Small .tflite files, whose instructions the cost study counts: one operator each, or a few."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from bokeh_convert.graph.cost_model import Precision
from bokeh_convert.graph.editor import Graph
from bokeh_convert.graph.schema_views import Op, TensorType
from bokeh_convert.process_state import without_warnings
from bokeh_convert.quantize.engine import quantize, quantize_convolutions
from bokeh_convert.quantize.fp16_arithmetic import allow_fp16_arithmetic
from bokeh_convert.quantize.schemes import SCHEMES


@dataclass(frozen=True)
class Probe:
    """A small network.

    Attributes:
        network: From an input tensor [1, height, width, depth] to the output.
        size: Height and width of its input.
        depth: Channels of its input.
    """

    network: Callable[[Any], Any]
    size: tuple[int, int]
    depth: int


def convolution(kernel: int, depth: int, filters: int, size: tuple[int, int]) -> Probe:
    """Returns a convolution with random weights and a bias."""
    import tensorflow as tf

    rng = np.random.default_rng(0)
    weights = rng.normal(size=(kernel, kernel, depth, filters)).astype(np.float32)
    bias = rng.normal(size=filters).astype(np.float32)
    return Probe(lambda x: tf.nn.conv2d(x, weights, 1, "SAME") + bias, size, depth)


OPERATORS = ("ADD", "CONCATENATION, SPLIT", "LEAKY_RELU", "MAX_POOL_2D", "MUL",
             "SQUARED_DIFFERENCE", "TANH")  # fmt: skip
"""Operators of `operator`. CONCATENATION and SPLIT are counted together, with two parts each."""


def operator(name: str | None, size: tuple[int, int], depth: int) -> Probe:
    """Returns a convolution, and an operator on its output that keeps the shape.

    Args:
        name: One of `OPERATORS`; None for the convolution alone.
        size: Height and width.
        depth: Channels.
    """
    import tensorflow as tf

    networks: dict[str | None, Callable[[Any, Any], Any]] = {
        None: lambda _, y: y,
        "ADD": lambda x, y: x + y,
        "CONCATENATION, SPLIT": lambda _, y: tf.concat(tf.split(y, 2, -1)[::-1], -1),
        "LEAKY_RELU": lambda _, y: tf.nn.leaky_relu(y, 0.2),
        "MAX_POOL_2D": lambda _, y: tf.nn.max_pool2d(y, 2, 1, "SAME"),
        "MUL": lambda x, y: x * y,
        "SQUARED_DIFFERENCE": tf.math.squared_difference,
        "TANH": lambda _, y: tf.tanh(y),
    }
    first = convolution(1, depth, depth, size)
    return Probe(lambda x: networks[name](x, first.network(x)), size, depth)


def quantized_output(float32: bytes) -> bytes:
    """Returns a float32 file with a QUANTIZE to int8 and a DEQUANTIZE before its output."""
    graph = Graph(float32)
    (output,) = graph.outputs
    shape = graph.tensors[output].shape
    quantization = schema.QuantizationParametersT()
    quantization.scale, quantization.zeroPoint = [0.1], [0]
    whole = graph.add_tensor("quantized", TensorType.INT8, shape, quantization)
    exact = graph.add_tensor("exact", TensorType.FLOAT32, shape)
    *others, last = graph.operators
    last.outputs = [exact]
    graph.operators = [
        *others,
        last,
        graph.new_operator(Op.QUANTIZE, [exact], [whole], schema.QuantizeOptionsT()),
        graph.new_operator(Op.DEQUANTIZE, [whole], [output], schema.DequantizeOptionsT()),
    ]
    return graph.to_bytes()


def made(precision: Precision, probe: Probe) -> bytes:
    """Returns the .tflite file of a network in a precision.

    Of `Precision.STATIC` the input and the output are int8; otherwise they are float32.
    """
    import tensorflow as tf

    shape = (1, *probe.size, probe.depth)
    network = tf.function(probe.network, input_signature=[tf.TensorSpec(shape)])
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [network.get_concrete_function()], network
    )
    if precision == Precision.STATIC:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: _inputs(shape)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    with without_warnings():
        content = bytes(converter.convert())
    if precision == Precision.DYNAMIC:
        return quantize_convolutions(content, ())
    if precision == Precision.HALF:
        return allow_fp16_arithmetic(quantize(content, SCHEMES["float16"]))
    return content


def _inputs(shape: tuple[int, ...]) -> Iterator[list[Any]]:
    yield [np.random.default_rng(0).random(shape, dtype=np.float32)]
