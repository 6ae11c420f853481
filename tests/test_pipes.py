"""In a pipe, the commands show no progress, even where the environment asks for colours."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest

from bokeh_bench.run import _Status
from bokeh_convert import console as convert_console
from bokeh_convert.train.console import Terminal
from bokeh_runtime import console as runtime_console


def convert(stderr: io.StringIO) -> None:
    console = convert_console.console_on(stderr)
    with convert_console.progress_bar(console, lambda: None) as progress:
        progress("calibrating", 1, 2)


def train(stderr: io.StringIO) -> None:
    with Terminal(stderr, lambda: None).progress() as progress:
        progress("loss 0.1", 1, 2)


def render(stderr: io.StringIO) -> None:
    console = runtime_console.make_console(stderr)
    with runtime_console.spinner(console, "opening"):
        pass
    with runtime_console.progress_bar(console, 2) as done:
        done("photo.jpg")


def bench(stderr: io.StringIO) -> None:
    with _Status(runtime_console.make_console(stderr)) as status:
        status("measuring")


@pytest.mark.parametrize("show", [convert, train, render, bench])
def test_no_progress_is_shown_in_a_pipe(
    show: Callable[[io.StringIO], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as notebooks and build servers set it
    stderr = io.StringIO()
    show(stderr)
    assert stderr.getvalue() == ""
