"""Parameter types of the command's options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

_MAX_TIME_LIMIT = 1e6  # s; functions that wait do not accept infinity


class CommaSeparatedChoices(click.ParamType):  # type: ignore[type-arg]
    """One or more of a set of names, separated by commas."""

    name = "a,b"

    def __init__(self, allowed: Sequence[str]) -> None:
        self.allowed = allowed

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        chosen = tuple(dict.fromkeys(value.split(",")))
        for name in chosen:
            if name not in self.allowed:
                self.fail(f"'{name}' is not one of {', '.join(self.allowed)}", param, ctx)
        return chosen


class PositiveIntegers(click.ParamType):  # type: ignore[type-arg]
    """Positive integers, separated by commas."""

    name = "n,m"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        try:
            counts = tuple(dict.fromkeys(int(word) for word in value.split(",")))
        except ValueError:
            counts = (0,)
        if min(counts) < 1:
            self.fail(f"'{value}' is not a list of positive integers such as 1,2,4", param, ctx)
        return counts


class TimeLimit(click.ParamType):  # type: ignore[type-arg]
    """A time limit in seconds."""

    name = "seconds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            seconds = float(value)
        except ValueError:
            seconds = 0.0
        if not 0 < seconds <= _MAX_TIME_LIMIT:
            self.fail(f"'{value}' is not a positive number of seconds such as 600", param, ctx)
        return seconds


class Percentage(click.ParamType):  # type: ignore[type-arg]
    """A percentage such as "5%", or the same as a fraction: 0.05."""

    name = "percent"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            fraction = float(value[:-1]) / 100 if value.endswith("%") else float(value)
        except ValueError:
            fraction = -1.0
        if not fraction >= 0:
            self.fail(
                f"'{value}' is not a percentage such as 5% or a fraction such as 0.05", param, ctx
            )
        return fraction
