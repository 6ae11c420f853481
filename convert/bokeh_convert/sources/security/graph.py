"""Checks TensorFlow graphs against the allowlist of operators without side effects.

The traced graph of every model, of any format, is checked before it is run. Loading a SavedModel
already runs the operators that restore its variables and initialize its resources. So these, and
the operators of the signature, are read from the file and checked before it is loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from pathlib import Path

from bokeh_convert.sources.options import TRUST_SOURCE
from bokeh_convert.sources.security.graph_types import (
    FunctionDef,
    GraphDef,
    MetaGraphDef,
    NodeDef,
)
from bokeh_convert.sources.security.operators import LOADING, WITHOUT_SIDE_EFFECTS
from bokeh_runtime.errors import InputError

_INIT = ("saved_model_main_op", "legacy_init_op", "table_initializer")
_VARIABLES = ("variables", "trainable_variables", "model_variables", "local_variables")


def refuse_unknown_operators(path: Path, graph: GraphDef) -> None:
    """Checks all operators of a traced graph, including the bodies of all functions.

    Args:
        path: The source, for error messages.
        graph: The `GraphDef`.

    Raises:
        InputError: If an operator is not on the allowlist.
    """
    functions = {function.signature.name: function for function in graph.library.function}
    for nodes in (graph.node, *(function.node_def for function in functions.values())):
        for node in nodes:
            _checked(path, node, functions, WITHOUT_SIDE_EFFECTS)


def refuse_side_effects(path: Path, meta_graph: MetaGraphDef, signature: str) -> None:
    """Checks all operators that run when a graph is loaded and one signature is called.

    Args:
        path: The SavedModel folder, for error messages.
        meta_graph: The `MetaGraphDef`.
        signature: Name of the signature that will be called.

    Raises:
        InputError: If an operator is not on the allowlist.
    """
    graph = meta_graph.graph_def
    functions = {function.signature.name: function for function in graph.library.function}
    nodes = _needed(graph, _signature_roots(meta_graph, signature))
    _check_reached(path, nodes, (), functions, WITHOUT_SIDE_EFFECTS)
    nodes = _needed(graph, _loading_roots(meta_graph))
    _check_reached(path, nodes, _functions_of_resources(meta_graph), functions, LOADING)


def _check_reached(
    path: Path,
    nodes: Iterable[NodeDef],
    names: Iterable[str],
    functions: dict[str, FunctionDef],
    allowed: Set[str],
) -> None:
    """Checks nodes, functions by name, and all functions that these call."""
    pending = list(names)
    for node in nodes:
        pending += _checked(path, node, functions, allowed)
    visited: set[str] = set()
    while pending:
        name = pending.pop()
        if name in visited or name not in functions:  # a resource may name a missing function
            continue
        visited.add(name)
        # All of the body, because operators with side effects run even if no result needs them.
        for node in functions[name].node_def:
            pending += _checked(path, node, functions, allowed)


def _checked(
    path: Path, node: NodeDef, functions: dict[str, FunctionDef], allowed: Set[str]
) -> list[str]:
    """Returns the names of the functions that a node calls."""
    from tensorflow.python.framework import op_def_registry

    # A function of the file must not replace an operator by taking its name.
    own = node.op in functions and op_def_registry.get(node.op) is None
    if node.op not in allowed and not own:
        raise InputError(
            f"{path}: the operator {node.op} is not known to be free of side effects",
            remedy=("remove it from the model, or trust the source with ", TRUST_SOURCE),
        )
    called = [node.op] if own else []
    for value in node.attr.values():
        called += [function.name for function in (value.func, *value.list.func) if function.name]
    for name in called:
        if name not in functions:
            raise InputError(
                f"{path}: calls the function {name}, which is missing; save the model again"
            )
    return called


def _signature_roots(meta_graph: MetaGraphDef, signature: str) -> Iterator[str]:
    """Yields the names of the output tensors of a signature."""
    for tensor in meta_graph.signature_def[signature].outputs.values():
        yield tensor.name


def _loading_roots(meta_graph: MetaGraphDef) -> Iterator[str]:
    """Yields the names of the tensors and nodes that loading evaluates."""
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
    """Yields the names of the functions that create, fill and release resources, e.g. tables."""
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
    """Yields the nodes of the main graph that the roots depend on, including the roots."""
    nodes = {node.name: node for node in graph.node}
    pending, visited = [_node_name(root) for root in roots], set()
    while pending:
        name = pending.pop()
        if name in nodes and name not in visited:
            visited.add(name)
            yield nodes[name]
            pending += [_node_name(source) for source in nodes[name].input]


def _node_name(tensor: str) -> str:
    return tensor.lstrip("^").partition(":")[0]
