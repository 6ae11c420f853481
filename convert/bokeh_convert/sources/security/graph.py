"""Holds TensorFlow graphs to the list of operators that only compute.

The traced graph of every model is checked, whatever file it came from, before anything of it runs.
Loading a SavedModel already runs what restores its variables and initializes its resources. So the
operators that these reach, and the signature's, are read from the file and checked before that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from pathlib import Path

from bokeh_convert.sources.security.graph_types import (
    FunctionDef,
    GraphDef,
    MetaGraphDef,
    NodeDef,
)
from bokeh_convert.sources.security.operators import COMPUTING, LOADING
from bokeh_runtime.errors import InputError

_INIT = ("saved_model_main_op", "legacy_init_op", "table_initializer")
_VARIABLES = ("variables", "trainable_variables", "model_variables", "local_variables")


def refuse_unknown_operators(path: Path, graph: GraphDef) -> None:
    """Checks every operator of a traced graph, the bodies of all its functions included.

    Args:
        path: The source, for the message.
        graph: The `GraphDef`.

    Raises:
        InputError: If an operator is not known to only compute.
    """
    functions = {function.signature.name: function for function in graph.library.function}
    for nodes in (graph.node, *(function.node_def for function in functions.values())):
        for node in nodes:
            _checked(path, node, functions, COMPUTING)


def refuse_side_effects(path: Path, meta_graph: MetaGraphDef, signature: str) -> None:
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
    nodes = _needed(graph, _signature_roots(meta_graph, signature))
    _check_reached(path, nodes, (), functions, COMPUTING)
    nodes = _needed(graph, _loading_roots(meta_graph))
    _check_reached(path, nodes, _functions_of_resources(meta_graph), functions, LOADING)


def _check_reached(
    path: Path,
    nodes: Iterable[NodeDef],
    names: Iterable[str],
    functions: dict[str, FunctionDef],
    allowed: Set[str],
) -> None:
    """Checks nodes, functions by name, and whatever functions they call."""
    pending = list(names)
    for node in nodes:
        pending += _checked(path, node, functions, allowed)
    seen: set[str] = set()
    while pending:
        name = pending.pop()
        if name in seen or name not in functions:  # a resource may name what is not there
            continue
        seen.add(name)
        # All of the body: what has a side effect runs whether or not a result needs it.
        for node in functions[name].node_def:
            pending += _checked(path, node, functions, allowed)


def _checked(
    path: Path, node: NodeDef, functions: dict[str, FunctionDef], allowed: Set[str]
) -> list[str]:
    """Returns the names of the functions that a node calls."""
    from tensorflow.python.framework import op_def_registry

    # A function of the file must not stand in for an operator by taking its name.
    own = node.op in functions and op_def_registry.get(node.op) is None
    if node.op not in allowed and not own:
        raise InputError(
            f"{path}: runs the operator {node.op}, which is not known to only compute; "
            "leave it out of the model, or trust the source with --trust-source"
        )
    called = [node.op] if own else []
    for value in node.attr.values():
        called += [function.name for function in (value.func, *value.list.func) if function.name]
    for name in called:
        if name not in functions:
            raise InputError(
                f"{path}: calls the function {name}, which it does not hold; save the model again"
            )
    return called


def _signature_roots(meta_graph: MetaGraphDef, signature: str) -> Iterator[str]:
    """Yields the nodes of the main graph that a signature returns."""
    for tensor in meta_graph.signature_def[signature].outputs.values():
        yield tensor.name


def _loading_roots(meta_graph: MetaGraphDef) -> Iterator[str]:
    """Yields the nodes of the main graph that loading asks for by name."""
    for tensor in meta_graph.signature_def["__saved_model_init_op"].outputs.values():
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


def _functions_of_resources(meta_graph: MetaGraphDef) -> Iterator[str]:
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


def _needed(graph: GraphDef, roots: Iterable[str]) -> Iterator[NodeDef]:
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
