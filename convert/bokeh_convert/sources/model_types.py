"""Types for what the readers use of TensorFlow, Keras and parsed JSON.

The libraries have no type annotations, and a model may come from Keras 2 or Keras 3; these
protocols declare what the readers need of either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from bokeh_convert.sources.security.graph_types import GraphDef

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
"""A parsed JSON value."""
JsonObject: TypeAlias = "dict[str, Json]"


class TensorShape(Protocol):
    """`tf.TensorShape`; a size that is open is None."""

    rank: int | None

    def __getitem__(self, axis: int) -> int | None: ...
    def as_list(self) -> list[int | None]: ...


class Tensor(Protocol):
    """`tf.Tensor`, eager or symbolic."""

    shape: TensorShape

    def __getitem__(self, index: int) -> Tensor: ...


class Operation(Protocol):
    """An operator of a graph."""

    name: str
    type: str
    inputs: Sequence[GraphTensor]
    outputs: Sequence[GraphTensor]

    def get_attr(self, name: str) -> object: ...


class FuncGraph(Protocol):
    """The graph of a traced function."""

    captures: Sequence[tuple[object, GraphTensor]]

    def as_graph_def(self) -> GraphDef: ...
    def get_operations(self) -> Sequence[Operation]: ...


class GraphTensor(Tensor, Protocol):
    """A symbolic tensor of a graph."""

    name: str
    op: Operation

    def consumers(self) -> Sequence[Operation]: ...


class ConcreteFunction(Protocol):
    """A `tf.function` traced for one input shape."""

    graph: FuncGraph
    inputs: Sequence[GraphTensor]
    outputs: Sequence[GraphTensor]

    def __call__(self, network_input: Tensor) -> Tensor: ...


class Variable(Protocol):
    """A layer's variable."""

    shape: Sequence[int]


class KerasLayer(Protocol):
    """A layer of Keras 2 or 3."""

    name: str
    weights: Sequence[Variable]

    def set_weights(self, weights: Sequence[npt.NDArray[np.float32]]) -> None: ...


class KerasInput(Protocol):
    """A symbolic input of a Keras model."""

    name: str
    dtype: object
    shape: Sequence[int | None]


class KerasModel(Protocol):
    """A model of Keras 2 or 3."""

    inputs: Sequence[KerasInput]
    layers: Sequence[KerasLayer]

    def __call__(
        self,
        network_input: Tensor | Sequence[Tensor] | Mapping[str, Tensor] | npt.NDArray[np.float32],
        *,
        training: bool,
    ) -> object: ...
