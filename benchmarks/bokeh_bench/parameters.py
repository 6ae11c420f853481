"""Values of the command's options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click


class Choices(click.ParamType):  # type: ignore[type-arg]
    """Several of a set, with commas."""

    name = "a,b"

    def __init__(self, allowed: Sequence[str]) -> None:
        self.allowed = allowed

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        chosen = tuple(dict.fromkeys(value.split(",")))
        for name in chosen:
            if name not in self.allowed:
                self.fail(f"'{name}' is none of {', '.join(self.allowed)}", param, ctx)
        return chosen


class Counts(click.ParamType):  # type: ignore[type-arg]
    """Positive whole numbers, with commas."""

    name = "n,m"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        try:
            counts = tuple(dict.fromkeys(int(word) for word in value.split(",")))
        except ValueError:
            counts = (0,)
        if min(counts) < 1:
            self.fail(f"'{value}' is not one or more positive numbers, such as 1,2,4", param, ctx)
        return counts


class Share(click.ParamType):  # type: ignore[type-arg]
    """A share: "5%" or 0.05."""

    name = "percent"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            share = float(value[:-1]) / 100 if value.endswith("%") else float(value)
        except ValueError:
            share = -1.0
        if not share >= 0:
            self.fail(f"'{value}' is no share, such as 5% or 0.05", param, ctx)
        return share
