"""Traces a network at one input size as a TensorFlow graph of its image output alone.

What keeps a network from being traced or converted is named here in the words of its layers: a size
that a layer cannot take, random numbers, variables that the graph assigns while it runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import keras
import tensorflow as tf

from bokeh_convert.sources.model_types import (
    ConcreteFunction,
    FuncGraph,
    Operation,
    Tensor,
)
from bokeh_convert.sources.security.graph_types import GraphDef
from bokeh_runtime.errors import Argument, InputError

INPUT_NAME = "photo"
_MULTIPLES = (2, 4, 8, 16, 32, 64)
_RANDOM = re.compile(r"Random|Multinomial|TruncatedNormal|StatelessShuffle")
_SUMMING = ("Conv2D", "Conv2DBackpropInput", "DepthwiseConv2dNative", "MatMul", "BatchMatMulV2")
_HALF_TYPES = (tf.float16.as_datatype_enum, tf.bfloat16.as_datatype_enum)
_ASSIGNING = re.compile(r"^Assign")
_READING = re.compile(r"^ReadVariableOp")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")

SizesThatFit = tuple[int, list[tuple[int, int]]]
"""A multiple that both sides must be of, and the nearest such sizes (height, width) in pixels."""
Network = Callable[[Tensor], Mapping[str, Tensor]]


class SizeError(Exception):
    """A network does not take a size. The message says what does not fit, and where."""


def trace(
    path: Path,
    network: Network,
    choose: Callable[[Mapping[str, Tensor]], str],
    shape: tuple[int, int, int],
) -> tuple[ConcreteFunction, str]:
    """Traces a network, and leaves out what its image output does not need.

    A network that was saved with BatchNormalization in training mode normalizes each image by its
    own mean and variance at batch size 1, which is instance normalization. The moving averages that
    it also updates are not needed for that and are left out.

    Args:
        path: The source, for messages.
        network: From a float tensor [1, height, width, channels] to the outputs by name.
        choose: Returns the name of the image output.
        shape: Height and width in pixels, and channels.

    Returns:
        The concrete function from the input to the output, and the output's name.

    Raises:
        SizeError: If the network does not take the size.
        InputError: If it computes with random numbers or assigns variables.
    """
    chosen: list[str] = []

    def image(photo: Tensor) -> Tensor:
        outputs = network(photo)
        chosen[:] = [choose(outputs)]
        return outputs[chosen[0]]

    spec = tf.TensorSpec([1, *shape], tf.float32, name=INPUT_NAME)
    with _explained_by_layers():
        traced = tf.function(image, input_signature=[spec], autograph=False)
        concrete = cast(ConcreteFunction, traced.get_concrete_function())
    graph = concrete.graph
    if any(_ASSIGNING.match(operation.type) for operation in graph.get_operations()):
        # Only then, because a graph that is traced the usual way is lowered bit for bit as before.
        wrapped = tf.compat.v1.wrap_function(image, [spec])
        concrete = wrapped.prune(
            wrapped.graph.get_tensor_by_name(f"{INPUT_NAME}:0"), wrapped.outputs[0]
        )
        if _variables(wrapped.graph, _ASSIGNING) & _variables(concrete.graph, _READING):
            raise InputError(
                f"{path}: its output depends on variables that it assigns while it runs; save the "
                "network as it is called with training=False"
            )
    _refuse_state(path, concrete)
    return concrete, chosen[0]


def _variables(graph: FuncGraph, kind: re.Pattern[str]) -> set[int]:
    """Returns the variables that a kind of operator takes, by the identity of their handles."""
    taken = {
        operation.inputs[0].name
        for operation in graph.get_operations()
        if kind.match(operation.type) and not _ignored(operation)
    }
    return {id(handle) for handle, inner in graph.captures if inner.name in taken}


def _ignored(operation: Operation) -> bool:
    """Whether all that takes an operator's output is batch normalization in training mode.

    It takes the moving averages as inputs too, but only uses those of the batch.
    """
    readers = [reader for output in operation.outputs for reader in output.consumers()]
    return bool(readers) and all(
        reader.type.startswith("FusedBatchNorm") and reader.get_attr("is_training")
        for reader in readers
    )


def _refuse_state(path: Path, concrete: ConcreteFunction) -> None:
    for name, kind, half in _operators(concrete.graph.as_graph_def()):
        layer = layer_of(name)
        if half and kind in _SUMMING:
            raise InputError(
                f"{path}: {layer} computes in half precision ({kind}), which TFLite lacks; build "
                "the network with keras.config.set_dtype_policy('float32'), load the weights into "
                "it, and export that, or give the .h5 or .keras file"
            )
        if _RANDOM.search(kind):
            raise InputError(
                f"{path}: its output is random: {layer} computes {kind}, as Dropout does in "
                "training mode; save the network as it is called with training=False"
            )
        if _ASSIGNING.match(kind):
            raise InputError(
                f"{path}: {layer} assigns a variable while the network runs ({kind}); save the "
                "network as it is called with training=False"
            )


def _operators(graph: GraphDef) -> Iterator[tuple[str, str, bool]]:
    """Yields name, kind and whether it computes in half precision, of every operator."""
    for nodes in (graph.node, *(function.node_def for function in graph.library.function)):
        for node in nodes:
            yield node.name, node.op, node.attr["T"].type in _HALF_TYPES


def layer_of(name: str) -> str:
    """Returns the layer that an operator stands in: `net/dropout/uniform` is of layer dropout."""
    parts = name.split("/")
    within = parts[1:-1] or parts[:-1]
    return f"layer {'/'.join(within)}" if within else f"operator {name}"


@contextmanager
def _explained_by_layers() -> Iterator[None]:
    """Turns an error of a layer into a `SizeError` that names the layer."""
    filtered = keras.config.is_traceback_filtering_enabled()
    # The layers stand in the frames that Keras would filter out.
    keras.config.disable_traceback_filtering()
    tf.debugging.disable_traceback_filtering()
    try:
        yield
    except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
        if isinstance(error, InputError):
            raise
        layer = _failing_layer(error)
        cause = cause_of(error)
        raise SizeError(f"{cause}, in layer {layer}" if layer else cause) from error
    finally:
        tf.debugging.enable_traceback_filtering()
        if filtered:
            keras.config.enable_traceback_filtering()


def _failing_layer(error: BaseException) -> str | None:
    """Returns name and class of the innermost layer that an error came through."""
    found = None
    trace_back = error.__traceback__
    while trace_back is not None:
        own = trace_back.tb_frame.f_locals.get("self")
        # By name: a class of either Keras, of which only one may have been imported.
        if any(base.__name__ == "Layer" for base in type(own).__mro__) and not hasattr(
            own, "layers"
        ):
            found = f"{getattr(own, 'name', '')} ({type(own).__name__})"
        trace_back = trace_back.tb_next
    return found


def cause_of(error: BaseException) -> str:
    """Returns the line of a library's error that says what is wrong.

    Keras puts where it happened first, then the cause, then the arguments in a list.
    """
    text = _ANSI.sub("", str(error))
    text = text.partition("Arguments received by")[0].partition("Call arguments received by")[0]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    if len(lines) > 1 and lines[0].startswith("Exception encountered when calling"):
        lines = lines[1:]
    return lines[-1].partition(" for '{{node")[0].rstrip(".:")[:300]


def sizes_that_fit(
    fits: Callable[[int, int], bool], height: int, width: int
) -> SizesThatFit | None:
    """Returns the smallest multiple that a network takes both sides in, and the nearest such sizes.

    Args:
        fits: Whether the network takes a height and a width in pixels.
        height: In pixels, which it does not take.
        width: In pixels, likewise.

    Returns:
        The multiple, and the sizes below and above; None if no multiple of up to 64 fits.
    """
    for multiple in _MULTIPLES:
        above = (-(-height // multiple) * multiple, -(-width // multiple) * multiple)
        if above != (height, width) and fits(*above):
            below = (height // multiple * multiple, width // multiple * multiple)
            return multiple, [size for size in (below, above) if 0 not in size]
    return None


def fixed_size(height: int | None, width: int | None) -> tuple[str, tuple[str | Argument, ...]]:
    """Returns which sides of its input a model fixes, "" for none, and how to choose the others."""
    if height is None and width is None:
        return "", ("give ", Argument("size"))
    if height is not None and width is not None:
        return f"{height} x {width} px", ("omit ", Argument("size"))
    side = f"a width of {width} px" if height is None else f"a height of {height} px"
    return side, ("give ", Argument("size", f"{height or 'H'}x{width or 'W'}"))


def refusal(
    path: Path, shape: tuple[int, int], cause: str, found: SizesThatFit | None
) -> InputError:
    """Returns the error for a size that a network does not take.

    Args:
        path: The source.
        shape: Height and width in pixels.
        cause: Message of the `SizeError`.
        found: What `sizes_that_fit` returned.
    """
    message = f"{path}: does not take {shape[0]} x {shape[1]} px ({cause})"
    if found is None:
        return InputError(
            f"{message}, nor the multiples of {_MULTIPLES[0]} to {_MULTIPLES[-1]} near that size",
            remedy=(
                "give another ", Argument("size"),
                ", or save the network as it is called with one photo",
            ),
        )  # fmt: skip
    multiple, sizes = found
    near = " or ".join(f"{height}x{width}" for height, width in sizes)
    return InputError(
        message,
        remedy=(f"it takes multiples of {multiple}: give ", Argument("size"), f" {near}"),
    )
