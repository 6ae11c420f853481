"""What the tests of all packages share."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest

from helpers.skips import ELSEWHERE, LOG, REQUIRE_ALL

DATA = Path(__file__).parent / "data"

# What a shell starts in the background ignores Ctrl-C, and so would the commands that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def data() -> Path:
    return DATA


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup() -> Generator[None, object, object]:
    _same_weights()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call() -> Generator[None, object, object]:
    _same_weights()
    return (yield)


def _same_weights() -> None:
    """Seeds what Keras draws weights from, which pytest-randomly seeds anew in each run.

    A network of few layers can draw a constant picture by chance, and would fail a right test.
    """
    random.seed(1)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _judge_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    # With pytest-xdist every process collects every file: one of them is enough to list it.
    first = os.environ.get("PYTEST_XDIST_WORKER", "gw0") == "gw0"
    _judge_skip(report, listed=first)
    return report


def _judge_skip(report: pytest.TestReport | pytest.CollectReport, *, listed: bool = True) -> None:
    """Lists why tests were skipped, for the last line of `make test`, or fails them."""
    if not report.skipped or not isinstance(report.longrepr, tuple):
        return
    reason = report.longrepr[2].removeprefix("Skipped: ")
    if reason.startswith(ELSEWHERE):
        return
    if listed and os.environ.get(LOG):
        with Path(os.environ[LOG]).open("a", encoding="utf-8") as log:
            log.write(f"{reason}\n")
    if os.environ.get(REQUIRE_ALL):
        report.outcome = "failed"
        report.longrepr = f"{REQUIRE_ALL} is set, but it was skipped: {reason}"
