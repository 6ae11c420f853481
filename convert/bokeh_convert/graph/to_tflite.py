"""Converts a float model to a float32 flatbuffer."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from tensorflow.python.framework.convert_to_constants import (
    convert_variables_to_constants_v2,
)

from bokeh_convert.graph.schema_views import (
    Signature,
    SubGraph,
    TensorMap,
    pack_model,
    read_model,
)
from bokeh_convert.process_state import without_absl_messages
from bokeh_convert.sources.float_model import INPUT_NAME, OUTPUT_NAME, SizedModel
from bokeh_convert.sources.tracing import layer_of
from bokeh_runtime.errors import InputError

SIGNATURE = "serving_default"
_UNSUPPORTED = re.compile(r"'tf\.(\w+)' op is neither a custom op nor a flex op")
_CONTROL_FLOW = ("While", "StatelessWhile", "If", "StatelessIf", "Case", "StatelessCase")
_CALLS = re.compile(r"(Stateful)?PartitionedCall(_\d+)?/")
_ERROR = re.compile(r"error: (.+)")


class TargetSpec(Protocol):
    """`tf.lite.TargetSpec`."""

    supported_types: Sequence[object]
    supported_ops: Sequence[object]


class TFLiteConverter(Protocol):
    """`tf.lite.TFLiteConverter`."""

    optimizations: Sequence[object]
    target_spec: TargetSpec
    representative_dataset: Callable[[], Iterable[Sequence[npt.NDArray[np.float32]]]]
    inference_input_type: object
    inference_output_type: object

    def convert(self) -> bytes: ...


def lower(sized: SizedModel) -> bytes:
    """Returns a float32 .tflite file with the signature `serving_default`: photo -> bokeh.

    Layers that the output does not need are not in it.

    Raises:
        InputError: If TFLite has no operator for one of the graph's, or the graph has loops or
            branches, which no rewrite and no quantizer takes.
    """
    try:
        with without_absl_messages():
            content = frozen_converter(sized).convert()
    except Exception as error:  # whatever the converter raises, the graph is the cause
        raise InputError(_fault(sized, str(error))) from error
    model = read_model(content)
    if len(model.subgraphs) > 1:  # bodies of loops and branches
        raise InputError(_control_flow_fault(sized))
    model.signatureDefs = [_signature(model.subgraphs[0])]
    return pack_model(model)


def frozen_converter(sized: SizedModel) -> TFLiteConverter:
    """Returns TensorFlow's converter for the model, with its variables frozen to constants.

    It takes a third of the time that a SavedModel takes, but writes no signature.
    """
    frozen = convert_variables_to_constants_v2(sized.concrete)
    return cast(TFLiteConverter, tf.lite.TFLiteConverter.from_concrete_functions([frozen]))


def _signature(graph: SubGraph) -> Signature:
    signature: Signature = schema.SignatureDefT()
    signature.signatureKey = SIGNATURE
    signature.subgraphIndex = 0
    signature.inputs = [_tensor_map(INPUT_NAME, graph.inputs[0])]
    signature.outputs = [_tensor_map(OUTPUT_NAME, graph.outputs[0])]
    return signature


def _tensor_map(name: str, index: int) -> TensorMap:
    tensor_map: TensorMap = schema.TensorMapT()
    tensor_map.name = name
    tensor_map.tensorIndex = index
    return tensor_map


def _fault(sized: SizedModel, message: str) -> str:
    """Says what of a graph TensorFlow's converter cannot lower, from its error of many lines."""
    kinds = sorted(set(_UNSUPPORTED.findall(message)))
    if not kinds and _operators(sized, _CONTROL_FLOW):
        return _control_flow_fault(sized)
    if not kinds:
        found = _ERROR.search(message)
        cause = found[1] if found else message.strip().partition("\n")[0]
        return (
            f"{sized.model.path}: TensorFlow's converter cannot lower it ({cause[:300]}); export "
            "the network without training operators, as it is called with training=False"
        )
    layers = _operators(sized, kinds)
    return (
        f"{sized.model.path}: TFLite has no operator for {', '.join(layers or kinds)}; write that "
        "layer with other operators"
    )


def _control_flow_fault(sized: SizedModel) -> str:
    found = ", ".join(_operators(sized, _CONTROL_FLOW)) or "the graph"
    return (
        f"{sized.model.path}: {found} is control flow, which cannot be converted; build recurrent "
        "layers with unroll=True, and write loops and branches as operators on whole tensors"
    )


def _operators(sized: SizedModel, kinds: Collection[str]) -> list[str]:
    """Returns the operators of some kinds, each with the layer it stands in."""
    # The calls of functions, of which SavedModels are full, hide operators.
    inlined = convert_variables_to_constants_v2(sized.concrete, lower_control_flow=False)
    return [
        f"{operator.type.removeprefix('Stateless')} in {layer_of(_CALLS.sub('', operator.name))}"
        for operator in inlined.graph.get_operations()
        if operator.type in kinds
    ]
