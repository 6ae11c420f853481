"""What a file can be made for: CPU runtimes, delegates, and the compilers of accelerators.

A module that is put here and has a `TARGET` is found by itself. It is data: which operators the
target takes, each rule with its source. So a file is judged by its operators and their types alone,
and nothing large is imported to check the options. `bokeh_convert.graph.target_support` applies the
rules to a file.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bokeh_runtime.discovery import modules_in
from bokeh_runtime.errors import Argument, InputError

if TYPE_CHECKING:
    from bokeh_convert.graph.op_inventory import OperatorSummary

Verdict = Literal["takes", "slow", "refuses", "fails", "unknown"]
"""Of an operator: "slow" takes it, but with a slow kernel; "refuses" leaves it to the CPU; "fails"
refuses the whole file because of it; "unknown" was not tried."""
FLOATS = frozenset({"float32", "float16"})
EIGHT_BITS = frozenset({"int8", "uint8"})


@dataclass(frozen=True)
class Rule:
    """What a target does with some operators.

    Attributes:
        verdict: What it does.
        why: The reason or a remark, for the report; "" if there is nothing to say. "{rank}" stands
            for the operator's number of dimensions.
        source: Where this is known from: a source file, or what was measured with which version.
        operators: Names of the operators that the rule is about; None for all.
        other_than: Names of operators that it is not about.
        numbers: What these compute with (`OperatorSummary.numbers`); None for anything.
        min_rank: It is about operators with a tensor of at least so many dimensions.
        list_for_scalar: It is only about operators with a list where a scalar must be.
        api_level: Lowest Android API level at which the operator is taken; None if any.
    """

    verdict: Verdict
    why: str
    source: str
    operators: Collection[str] | None = None
    other_than: Collection[str] = ()
    numbers: Collection[str] | None = None
    min_rank: int = 0
    list_for_scalar: bool = False
    api_level: int | None = None

    def is_about(self, operator: OperatorSummary) -> bool:
        """Whether the rule is about an operator of a file."""
        return (
            (self.operators is None or operator.name in self.operators)
            and operator.name not in self.other_than
            and (self.numbers is None or operator.numbers in self.numbers)
            and operator.max_rank >= self.min_rank
            and (operator.list_for_scalar or not self.list_for_scalar)
        )


UNKNOWN = Rule("unknown", "nobody tried it", "")


@dataclass(frozen=True)
class Target:
    """A value of `--target`.

    Attributes:
        name: The value.
        summary: A few words for the help.
        schemes: Quantization schemes that run there, the best first.
        rules: What it does with operators; the first rule that is about one counts, and an operator
            without a rule is unknown.
        splits: Into how many parts it takes a file that has operators which it refuses: "any"
            number, "one", or "none" if it takes whole files only.
        passes: Optional graph rewrites that it needs.
        without_passes: Graph rewrites that only cost something there. They are left out if no
            other target is asked for that has them.
    """

    name: str
    summary: str
    schemes: Sequence[str]
    rules: Sequence[Rule]
    splits: Literal["any", "one", "none"] = "any"
    passes: Sequence[str] = ()
    without_passes: Sequence[str] = ()

    def rule_for(self, operator: OperatorSummary) -> Rule:
        """Returns what the target does with an operator; `UNKNOWN` if no rule is about it."""
        return next((rule for rule in self.rules if rule.is_about(operator)), UNKNOWN)


def targets() -> Mapping[str, Target]:
    """Returns the targets of this package by their names, in alphabetical order.

    Raises:
        TypeError: If a module has no `TARGET`.
    """
    found = {}
    for module in modules_in(__name__, __path__):
        target = getattr(module, "TARGET", None)
        if not isinstance(target, Target):
            raise TypeError(f"{module.__name__} has no TARGET")
        found[target.name] = target
    return dict(sorted(found.items()))


def find_targets(names: Sequence[str]) -> list[Target]:
    """Returns the targets with these names, each once.

    Raises:
        InputError: If there is no such target; the message lists those that there are.
    """
    known = targets()
    for name in names:
        if name not in known:
            raise InputError(
                Argument("targets", name), f" is unknown; choose from {', '.join(known)}"
            )
    return [known[name] for name in dict.fromkeys(names)]


def best_schemes(chosen: Sequence[Target]) -> list[str]:
    """Returns the scheme of one file for all targets, or several if no scheme runs on all.

    Of the schemes that all targets run, it is the one with the lowest sum of places in their orders
    of preference, on a tie the one that the first target prefers. If there is none, each target's
    best.
    """
    if not chosen:
        return []
    common = [
        name for name in chosen[0].schemes if all(name in target.schemes for target in chosen)
    ]
    if common:
        return [min(common, key=lambda name: sum(each.schemes.index(name) for each in chosen))]
    return list(dict.fromkeys(target.schemes[0] for target in chosen))
