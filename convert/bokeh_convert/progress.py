"""How far a conversion is, and how long its stages took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[str, int, int], None]
"""Called with what is being done, the steps done, and the steps in all."""


class Steps:
    """Counts the steps of one conversion, and times its stages.

    Attributes:
        total: How many steps there are; 1 until that is known.
        timings: Seconds of each stage that has ended, by name; the last time if it ran again.

    Args:
        progress: Told of each step.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._done = 0
        self.total = 1
        self.timings: dict[str, float] = {}

    def begin(self, what: str) -> None:
        """Tells what is done now; nothing is counted."""
        self._tell(what, 0)

    def next(self, what: str = "") -> None:
        """Counts the step before as done, and tells what is done now, if it has a name."""
        self._tell(what, 1)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Times a stage. One that ends by an error has no time."""
        began = time.monotonic()
        yield
        self.timings[stage] = round(time.monotonic() - began, 2)

    def _tell(self, what: str, count: int) -> None:
        self._done += count
        self._progress(what, self._done, self.total)
