"""Tells which targets run a file, by its operators and their types alone.

Whether a device really does so is only known by running there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from bokeh_convert.graph.op_inventory import OperatorSummary, read_operators
from bokeh_convert.targets import Rule, Target, Verdict

Runs = Literal["whole", "part", "none", "unknown"]


@dataclass(frozen=True)
class OperatorRemark:
    """What a target does with operators of one name, if it does not simply take them.

    Attributes:
        operator: Such as "CONV_2D".
        numbers: What they compute with; see `OperatorSummary.numbers`.
        count: How often they occur in the file.
        verdict: See `bokeh_convert.targets.Verdict`.
        why: The reason, or a remark.
        source: Where this is known from.
    """

    operator: str
    numbers: str
    count: int
    verdict: Verdict
    why: str
    source: str


@dataclass(frozen=True)
class TargetSupport:
    """How a target runs a file.

    Attributes:
        target: Its name.
        runs: The "whole" file, "part" of it, "none" of it, or "unknown" because of an operator that
            nobody tried there.
        why: The reason in one line, or what makes the file slow there; None if there is nothing to
            say.
        slow: Whether it takes operators with slow kernels.
        operators: Number of operators in the file.
        taken: How many of them the target takes.
        parts: Into how many parts those are cut, in execution order. A target may join some.
        remarks: On operators, the most frequent first.
    """

    target: str
    runs: Runs
    why: str | None
    slow: bool
    operators: int
    taken: int
    parts: int
    remarks: Sequence[OperatorRemark]


def target_support(content: bytes, targets: Iterable[Target]) -> list[TargetSupport]:
    """Returns how each target runs a .tflite file."""
    operators = read_operators(content)
    return [_support(operators, target) for target in targets]


def _support(operators: Sequence[OperatorSummary], target: Target) -> TargetSupport:
    judged = [(operator, target.rule_for(operator)) for operator in operators]
    remarks = list(_remarks(judged))
    taken = [rule.verdict in ("takes", "slow") for _, rule in judged]
    # What reads nothing but constants can be computed before the rest, so it cuts nothing.
    cutting = [
        took for (operator, _), took in zip(judged, taken, strict=True) if not operator.is_constant
    ]
    parts = sum(took for took, _ in groupby(cutting))
    runs = _runs({rule.verdict for _, rule in judged}, any(taken), parts, target)
    slow = any(remark.verdict == "slow" for remark in remarks)
    why = _why(runs, remarks, parts, target)
    return TargetSupport(
        target.name, runs, why, slow, len(operators), sum(taken), parts, tuple(remarks)
    )


def _remarks(judged: Sequence[tuple[OperatorSummary, Rule]]) -> Iterator[OperatorRemark]:
    counts = Counter(
        OperatorRemark(
            operator.name,
            operator.numbers,
            0,
            rule.verdict,
            rule.why.format(rank=operator.max_rank),
            rule.source,
        )
        for operator, rule in judged
        if rule.why
    )
    for remark, count in counts.most_common():
        yield OperatorRemark(
            remark.operator, remark.numbers, count, remark.verdict, remark.why, remark.source
        )


def _runs(verdicts: set[Verdict], takes_any: bool, parts: int, target: Target) -> Runs:
    if "fails" in verdicts or not takes_any:
        return "none" if verdicts - {"unknown"} else "unknown"
    if "unknown" in verdicts:
        return "unknown"
    if "refuses" not in verdicts:
        return "whole"
    too_many = target.splits == "none" or (target.splits == "one" and parts > 1)
    return "none" if too_many else "part"


def _why(runs: Runs, remarks: Sequence[OperatorRemark], parts: int, target: Target) -> str | None:
    if runs == "whole":
        return _listed(remarks, "slow")
    for verdict in ("fails", "unknown"):
        reason = _listed(remarks, verdict)
        if reason is not None:
            return reason
    reason = _listed(remarks, "refuses")
    if runs == "none" and parts > 0:
        allowed = "whole files only" if target.splits == "none" else "one part only"
        left = f"{parts} part{'' if parts == 1 else 's'}"
        return f"{reason}; that leaves {left}, and it takes {allowed}"
    return reason


def _listed(remarks: Sequence[OperatorRemark], verdict: str) -> str | None:
    lines = [
        f"{remark.count} {remark.operator}: {remark.why}"
        for remark in remarks
        if remark.verdict == verdict
    ]
    return "; ".join(lines) or None
