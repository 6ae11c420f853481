"""Values of the command's options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

_LONGEST_LIMIT = 1e6  # s; what waits takes no infinity


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


class Limit(click.ParamType):  # type: ignore[type-arg]
    """A time limit in seconds."""

    name = "seconds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            seconds = float(value)
        except ValueError:
            seconds = 0.0
        if not 0 < seconds <= _LONGEST_LIMIT:
            self.fail(f"'{value}' is no number of seconds, such as 600", param, ctx)
        return seconds


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
