"""Refuses a SavedModel whose graph holds operators that do more than compute.

Loading a SavedModel runs what restores its variables and initializes its resources, and calling it
runs its signature. So the operators that these reach are read and checked before it is loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from bokeh_runtime.errors import InputError

# Operators of TensorFlow that only compute arrays from arrays, hold variables, or call functions
# (whose own operators are checked too). ReadFile, WriteFile, PyFunc and their kind are not here.
_PURE = frozenset(
    """
    Abs Add AddN AddV2 All Any ArgMax ArgMin Assert Assign AssignVariableOp AvgPool BatchMatMul
    BatchMatMulV2 BatchMatMulV3 BatchToSpace BatchToSpaceND BiasAdd BiasAddV1 BroadcastArgs
    BroadcastGradientArgs BroadcastTo Case Cast Ceil CheckNumerics ClipByValue Concat ConcatOffset
    ConcatV2 Const Conv2D Conv2DBackpropInput Cos Cumsum DepthToSpace DepthwiseConv2dNative
    DisableCopyOnRead Div DivNoNan Einsum Elu EnsureShape Enter Equal Erf Exit Exp ExpandDims
    Expm1 FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel Fill
    Floor FloorDiv FloorMod FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 Gather GatherNd
    GatherV2 Greater GreaterEqual HashTable HashTableV2 Identity IdentityN If IsFinite IsInf IsNan
    IsVariableInitialized LeakyRelu Less LessEqual LinSpace Log Log1p LogicalAnd LogicalNot
    LogicalOr LookupTableImportV2 LoopCond MatMul Max MaxPool MaxPoolV2 Maximum Mean Merge Min
    Minimum MirrorPad Mul MulNoNan MutexV2 Neg NextIteration NoOp NotEqual OneHot OnesLike Pack Pad
    PadV2 PartitionedCall Placeholder PlaceholderWithDefault Pow PreventGradient Prod RandomNormal
    RandomUniform Range Rank ReadVariableOp RealDiv Reciprocal Relu Relu6 Reshape ResizeArea
    ResizeBicubic ResizeBilinear ResizeNearestNeighbor RestoreV2 Reverse ReverseV2 Rint Round Rsqrt
    Select SelectV2 Selu Shape ShapeN Sigmoid Sign Sin Size Slice Softmax Softplus Softsign
    SpaceToBatch SpaceToBatchND SpaceToDepth Split SplitV Sqrt Square SquaredDifference Squeeze
    StatefulPartitionedCall StatelessIf StatelessWhile StaticRegexFullMatch StopGradient
    StridedSlice StringJoin Sub Sum Switch Tan Tanh Tile TopKV2 Transpose TruncateDiv
    TruncatedNormal Unpack VarHandleOp VarIsInitializedOp Variable VariableV2 Where While ZerosLike
    """.split()  # noqa: SIM905
)
_INIT = ("saved_model_main_op", "legacy_init_op", "table_initializer")
_VARIABLES = ("variables", "trainable_variables", "model_variables", "local_variables")


def refuse_side_effects(path: Path, meta_graph: Any, signature: str) -> None:
    """Checks every operator that loading the graph and calling one signature would run.

    Args:
        path: The folder, for the message.
        meta_graph: The `MetaGraphDef`.
        signature: Name of the signature that will be called.

    Raises:
        InputError: If an operator is not known to only compute.
    """
    graph = meta_graph.graph_def
    functions = {function.signature.name: function for function in graph.library.function}
    pending = list(_functions_of_resources(meta_graph))
    for node in _needed(graph, _roots(meta_graph, signature)):
        pending += _checked(path, node, functions)
    seen: set[str] = set()
    while pending:
        name = pending.pop()
        if name in seen or name not in functions:
            continue
        seen.add(name)
        # All of the body: what has a side effect runs whether or not a result needs it.
        for node in functions[name].node_def:
            pending += _checked(path, node, functions)


def _checked(path: Path, node: Any, functions: dict[str, Any]) -> list[str]:
    """Returns the names of the functions that a node calls."""
    if node.op not in _PURE and node.op not in functions:
        raise InputError(
            f"{path}: runs the operator {node.op}, which is not known to only compute; "
            "leave it out of the model, or trust the folder with --trust-source"
        )
    called = [node.op] if node.op in functions else []
    for value in node.attr.values():
        called += [function.name for function in (value.func, *value.list.func) if function.name]
    return called


def _roots(meta_graph: Any, signature: str) -> Iterator[str]:
    """Yields the nodes of the main graph that are asked for by name."""
    for name in (signature, "__saved_model_init_op"):
        for tensor in meta_graph.signature_def[name].outputs.values():
            yield tensor.name
    yield meta_graph.saver_def.restore_op_name
    for collection in _INIT:
        yield from meta_graph.collection_def[collection].node_list.value
    for collection in _VARIABLES:
        for serialized in meta_graph.collection_def[collection].bytes_list.value:
            from tensorflow.core.framework.variable_pb2 import VariableDef

            variable = VariableDef.FromString(serialized)
            yield from (variable.initializer_name, variable.initial_value_name)
            yield from (variable.variable_name, variable.snapshot_name)


def _functions_of_resources(meta_graph: Any) -> Iterator[str]:
    """Yields the functions that create, fill and release resources such as tables."""
    objects = meta_graph.object_graph_def.nodes
    for node in objects:
        if node.WhichOneof("kind") == "resource":
            for child in node.children:
                function = objects[child.node_id].function
                yield from function.concrete_functions
        for saveable in node.saveable_objects.values():
            for child_id in (saveable.save_function, saveable.restore_function):
                yield from objects[child_id].function.concrete_functions


def _needed(graph: Any, roots: Iterable[str]) -> Iterator[Any]:
    """Yields the nodes of the main graph that the roots depend on."""
    nodes = {node.name: node for node in graph.node}
    pending, seen = [_node_name(root) for root in roots], set()
    while pending:
        name = pending.pop()
        if name in nodes and name not in seen:
            seen.add(name)
            yield nodes[name]
            pending += [_node_name(source) for source in nodes[name].input]


def _node_name(tensor: str) -> str:
    return tensor.lstrip("^").partition(":")[0]
