"""Reads what LiteRT's tool and Qualcomm's compiler say about operators that they refuse."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

# Of LiteRT, on standard error.
_PARTITIONED = re.compile(
    r"Partitioned subgraph<0>, selected (\d+) ops, from a total of (\d+) ops\. "
    r"resulted in (\d+) partitions"
)
_SDK_VERSION = re.compile(r"Applying plugin with SDK version: (\S+)")
_VALIDATION = re.compile(r"QNN op validation failed: '(?P<node>[^']+)' \(type=")
_TENSOR = re.compile(r"^ {4}\[\d+\] name=\"[^\"]*\" dtype=(?:QNN_DATATYPE_)?(\w+)", re.MULTILINE)
_REFUSED = re.compile(r"LiteRT Op #(\d+) '[^']*' \(code=\d+\) is not supported")
_ERROR = re.compile(r"^ERROR: \[[^\]\n]*\] *(?!ERROR:)(\S[^\n]*)", re.MULTILINE)
# Of Qualcomm's compiler, on standard output.
_OBJECTION = re.compile(r"\[ ERROR \]\s+<E> (?P<words>[^\n]*'(?P<node>[^'\n]+_\d+)'[^\n]*)")


@dataclass(frozen=True)
class Partitioning:
    """Which operators the compiler takes.

    Attributes:
        taken: Number of operators that it takes.
        operators: Number of operators in the file.
        parts: Number of parts that those are in.
    """

    taken: int
    operators: int
    parts: int


def read_partitioning(errors: str) -> Partitioning | None:
    """Returns which operators the compiler takes; None if the log does not say.

    Args:
        errors: What LiteRT's tool wrote on standard error.
    """
    found = _PARTITIONED.search(errors)
    return None if found is None else Partitioning(*map(int, found.groups()))


def read_sdk_version(errors: str) -> str | None:
    """Returns the version of the vendor's libraries; None if the log does not say."""
    found = _SDK_VERSION.search(errors)
    return None if found is None else found[1]


def refusals(output: str, errors: str) -> Mapping[int, str]:
    """Returns the compiler's reason for each operator that it refuses, by the operator's index.

    The reason is what the compiler says first about the operator, without the number that it gives
    to it, and the types of the operator's tensors. "" if it gives no reason.

    Args:
        output: What was written on standard output.
        errors: What was written on standard error.
    """
    words: dict[str, str] = {}
    for objection in _OBJECTION.finditer(output):
        node = objection["node"]
        text = re.sub(rf"(?: in the node)? '{re.escape(node)}'", "", objection["words"])
        words.setdefault(node, " ".join(text.split()).rstrip("."))
    return dict(_refused(errors, words))


def _refused(errors: str, words: Mapping[str, str]) -> Iterator[tuple[int, str]]:
    start = 0
    for refused in _REFUSED.finditer(errors):
        before = errors[start : refused.start()]
        start = refused.end()
        validations = list(_VALIDATION.finditer(before))
        if not validations:
            yield int(refused[1]), ""
            continue
        last = validations[-1]
        tensors, _, outputs = before[last.end() :].partition("Outputs:")
        types = f"{_types(tensors)} -> {_types(outputs)}"
        reason = words.get(last["node"], "")
        yield int(refused[1]), f"{reason} ({types})" if reason else types


def _types(text: str) -> str:
    return ", ".join(name.lower() for name in _TENSOR.findall(text))


def first_error(errors: str) -> str:
    """Returns the first error that says something, for a file that was not compiled at all."""
    lines: Sequence[str] = _ERROR.findall(errors)
    return lines[0].strip() if lines else "no reason given"
