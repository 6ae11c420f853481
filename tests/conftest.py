"""What the tests of all packages share."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest

from helpers.skips import ELSEWHERE, LOG, REQUIRE_ALL

DATA = Path(__file__).parent / "data"


@pytest.fixture
def data() -> Path:
    return DATA


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Lists why tests were skipped, for the last line of `make test`, or fails them."""
    report = yield
    if report.skipped and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if not reason.startswith(ELSEWHERE):
            if os.environ.get(LOG):
                with Path(os.environ[LOG]).open("a", encoding="utf-8") as log:
                    log.write(f"{reason}\n")
            if os.environ.get(REQUIRE_ALL):
                report.outcome = "failed"
                report.longrepr = f"{REQUIRE_ALL} is set, but it was skipped: {reason}"
    return report
