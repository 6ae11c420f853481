"""Progress of a conversion, and the duration of its stages."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[str, int, int], None]
"""Called with a description of the current step, the steps done, and the total number of steps.

An empty description means that the step before continues.
"""


class Steps:
    """Counts the steps of one conversion, and times its stages.

    Args:
        progress: Called at each step.

    Attributes:
        total: Total number of steps; 1 until it is known.
        description: The current step.
        timings: Seconds of each finished stage, by name; of the last run if a stage ran twice.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._done = 0
        self.total = 1
        self.description = "reading the model"
        self.timings: dict[str, float] = {}

    def begin(self, description: str) -> None:
        """Reports a new description without counting a step."""
        self._report(description, 0)

    def next(self, description: str = "") -> None:
        """Counts one step as done, and reports the description of the next one, if given."""
        self._report(description, 1)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Times a stage. A stage that raises gets no time."""
        began = time.monotonic()
        yield
        self.timings[stage] = round(time.monotonic() - began, 2)

    def _report(self, description: str, count: int) -> None:
        self._done += count
        self.description = description or self.description
        self._progress(description, self._done, self.total)
