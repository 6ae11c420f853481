"""Where a model ran: the proof that goes into every result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bokeh_runtime.tflite.file import Operator, TfliteFile

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Placement:
    """Where a model runs.

    Attributes:
        requested: The delegate that was asked for, "auto" included.
        delegate: The one that runs it: "cpu", "gpu", "nnapi" or "npu".
        device: Name of the device, as its driver gives it.
        delegated_ops: Operators that the delegate runs; None where it does not tell. It is never
            taken for granted that those are all.
        total_ops: Operators of the model.
        unsupported_ops: Names of the operators that the delegate does not run, each once; None
            where it does not tell.
        partitions: Parts of the graph that the delegate runs as one; None where it does not tell.
        reasons: Why it does not run them, in the delegate's words, by name; empty where it gives
            none (XNNPACK does not).
        precision: "float32" if half precision was ruled out, "default" else.
        notes: What was refused or changed, and why.
    """

    requested: str
    delegate: str
    device: str
    delegated_ops: int | None
    total_ops: int
    unsupported_ops: Sequence[str] | None = ()
    partitions: int | None = None
    reasons: Mapping[str, str] = field(default_factory=dict)
    precision: str = "default"
    notes: Sequence[str] = field(default_factory=tuple)

    @property
    def share(self) -> str:
        """How many of the operators the delegate runs, as text: "5 of 10", "unknown of 10"."""
        placed = UNKNOWN if self.delegated_ops is None else self.delegated_ops
        return f"{placed} of {self.total_ops}"

    @property
    def unsupported_text(self) -> str:
        """What is left to the CPU and why, as text; "" for nothing, "unknown" where it is."""
        if self.unsupported_ops is None:
            return UNKNOWN
        return ", ".join(
            f"{name} ({self.reasons[name]})" if name in self.reasons else name
            for name in self.unsupported_ops
        )

    def __str__(self) -> str:
        return f"{self.delegate} ({self.device}), {self.share} operators"


def unsupported_operators(
    file: TfliteFile, delegated: Iterable[tuple[Sequence[int], Sequence[int]]]
) -> list[Operator]:
    """Returns the operators that no delegate took.

    Args:
        file: The model.
        delegated: Inputs and outputs, as tensor indices, of each node that a delegate put in the
            place of a part of the graph.
    """
    maker = {tensor: i for i, operator in enumerate(file.operators) for tensor in operator.outputs}
    taken: set[int] = set()
    for inputs, outputs in delegated:
        border, ahead = set(inputs), [maker[tensor] for tensor in outputs if tensor in maker]
        while ahead:
            node = ahead.pop()
            if node in taken:
                continue
            taken.add(node)
            ahead += [
                maker[tensor]
                for tensor in file.operators[node].inputs
                if tensor in maker and tensor not in border
            ]
    return [operator for i, operator in enumerate(file.operators) if i not in taken]


def names(operators: Iterable[Operator]) -> list[str]:
    """Returns each name once, with how often it occurs: "TRANSPOSE x 3"."""
    counts: dict[str, int] = {}
    for operator in operators:
        counts[operator.name] = counts.get(operator.name, 0) + 1
    return [name if n == 1 else f"{name} x {n}" for name, n in counts.items()]
