"""Types of TensorFlow's graph messages, as far as they are checked here.

TensorFlow's protobuf classes have no type annotations. Names and fields are those of
`tensorflow/core/framework` and `tensorflow/core/protobuf`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol


class NameAttrList(Protocol):
    """An attribute that is a function. `name` is empty where the attribute is of another kind."""

    name: str


class AttrListValue(Protocol):
    """An attribute that is a list."""

    func: Sequence[NameAttrList]


class AttrValue(Protocol):
    """An attribute of a node."""

    type: int
    func: NameAttrList
    list: AttrListValue


class NodeDef(Protocol):
    """An operator of a graph."""

    name: str
    op: str
    input: Sequence[str]
    attr: Mapping[str, AttrValue]


class OpDef(Protocol):
    """The signature of a function."""

    name: str


class FunctionDef(Protocol):
    """A function of a graph's library."""

    signature: OpDef
    node_def: Sequence[NodeDef]


class FunctionDefLibrary(Protocol):
    """The functions of a graph."""

    function: Sequence[FunctionDef]


class GraphDef(Protocol):
    """A graph and its functions."""

    node: Sequence[NodeDef]
    library: FunctionDefLibrary


class TensorInfo(Protocol):
    """An input or output of a signature."""

    name: str


class SignatureDef(Protocol):
    """A signature of a SavedModel."""

    outputs: Mapping[str, TensorInfo]


class SaverDef(Protocol):
    """How variables are restored."""

    restore_op_name: str


class NodeList(Protocol):
    """Names of nodes."""

    value: Sequence[str]


class BytesList(Protocol):
    """Serialized messages."""

    value: Sequence[bytes]


class CollectionDef(Protocol):
    """A collection of a TensorFlow 1 graph."""

    node_list: NodeList
    bytes_list: BytesList


class ObjectReference(Protocol):
    """An edge of the object graph."""

    node_id: int


class SavedFunction(Protocol):
    """A function of the object graph."""

    concrete_functions: Sequence[str]


class SaveableObject(Protocol):
    """The functions that save and restore an object, as indices into the object graph."""

    save_function: int
    restore_function: int


class SavedObject(Protocol):
    """A node of the object graph."""

    children: Sequence[ObjectReference]
    function: SavedFunction
    saveable_objects: Mapping[str, SaveableObject]

    def WhichOneof(self, oneof_group: Literal["kind"]) -> str | None: ...  # noqa: N802


class SavedObjectGraph(Protocol):
    """The objects of a SavedModel of TensorFlow 2."""

    nodes: Sequence[SavedObject]


class MetaInfoDef(Protocol):
    """What a SavedModel says of a graph."""

    tags: Sequence[str]


class MetaGraphDef(Protocol):
    """A graph of a SavedModel with its signatures."""

    meta_info_def: MetaInfoDef
    graph_def: GraphDef
    signature_def: Mapping[str, SignatureDef]
    saver_def: SaverDef
    collection_def: Mapping[str, CollectionDef]
    object_graph_def: SavedObjectGraph


class SavedModel(Protocol):
    """The content of `saved_model.pb`."""

    meta_graphs: Sequence[MetaGraphDef]
