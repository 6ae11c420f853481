"""What the documentation names in its sentences is there: options, make targets, files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from bokeh_bench.studies.cli import study
from docs.pages import ROOT
from docs.test_console import COMMANDS, TARGETS

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FOLDERS = {
    "bokeh_runtime": ROOT / "runtime",
    "bokeh_convert": ROOT / "convert",
    "bokeh_bench": ROOT / "benchmarks",
    **dict.fromkeys(("runtime", "convert", "benchmarks", "android_demo", "tests"), ROOT),
}
"""Where paths that start so are."""


def options(command: click.Command) -> Iterator[str]:
    """The options of a command and of its sub-commands."""
    for parameter in command.params:
        yield from (*parameter.opts, *parameter.secondary_opts)
    if isinstance(command, click.Group):
        for each in command.commands.values():
            yield from options(each)


OPTIONS = {option for command in (*COMMANDS.values(), study) for option in options(command)}
OPTIONS |= {"--help", "--version"}


def wrong_names(text: str) -> list[str]:
    """The pieces of code in a page's sentences that name what is not there."""
    found = []
    for code in re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)):
        first = code.split()[0]
        if first.startswith("--") and first.partition("=")[0] not in OPTIONS:
            found.append(code)
        if target := re.fullmatch(r"make ([a-z0-9-]+)", code):
            found += [code] if target[1] not in TARGETS else []
        folder = FOLDERS.get(code.partition("/")[0])
        if folder is not None and re.fullmatch(r"[\w./-]+/[\w./-]*", code):
            found += [code] if not (folder / code).exists() else []
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_what_a_page_names_is_there(page: Path) -> None:
    assert not wrong_names(page.read_text(encoding="utf-8"))


def test_a_wrong_name_is_found() -> None:
    text = "`--quant` `--none 5` `make test` `make none` `runtime/none.py` `bokeh_bench/cli.py`"
    assert wrong_names(text) == ["--none 5", "make none", "runtime/none.py"]
