"""Every command in the documentation is one that its program, or the Makefile, accepts."""

from __future__ import annotations

import re
import shlex
import subprocess
from importlib.metadata import metadata
from pathlib import Path

import click
import pytest

from bokeh_bench.cli import main as bench
from bokeh_bench.doc_tables import FIGURES
from bokeh_convert.cli import main as convert
from bokeh_convert.train.cli import main as train
from bokeh_runtime.cli import main as render
from docs.pages import ROOT, blocks

COMMANDS: dict[str, click.Command] = {
    "bokeh-bench": bench,
    "bokeh-convert": convert,
    "bokeh-render": render,
    "bokeh-train": train,
}
OTHERS = {"adb", ".", ".venv/bin/pre-commit"}
"""Programs whose options are not ours to check."""
TARGETS = {
    target
    for line in (ROOT / "Makefile").read_text(encoding="utf-8").splitlines()
    if (found := re.match(r"([a-z][a-z0-9 _/%.-]*):(?!=)", line))
    for target in found[1].split()
}
LINES = [
    pytest.param(line.strip(), id=f"{block}+{number}")
    for block in blocks("sh")
    for number, line in enumerate(block.code.splitlines())
    if line.strip()
]


def parse(command: click.Command, name: str, words: list[str]) -> None:
    """Parses a command line, those of its sub-commands too, and runs nothing.

    Raises:
        click.UsageError: If the command does not accept it.
    """
    context = command.make_context(name, words)
    while isinstance(context.command, click.Group):
        group = context.command
        rest = [*context._protected_args, *context.args]
        sub_name, sub_command, rest = group.resolve_command(context, rest)
        assert sub_command is not None
        context = sub_command.make_context(sub_name, rest, parent=context)


def check(line: str) -> None:
    """Fails for a line that the program it names would refuse."""
    program, *words = shlex.split(line, comments=True)
    if program in COMMANDS:
        parse(COMMANDS[program], program, words)
    elif program == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        for word in words:
            variable, assigned, _ = word.partition("=")
            known = (
                f"$({variable})" in makefile
                if assigned
                else word in TARGETS or word.startswith("figures/")
            )
            assert known, f"make {word}: no such target or variable"
    elif program == "pip":
        extras = metadata("bokeh-tflite").get_all("Provides-Extra") or []
        for extra in re.findall(r"\[([\w,-]+)\]", line):
            assert set(extra.split(",")) <= set(extras)
    else:
        assert program in OTHERS, f"{program}: is checked by nothing here"


@pytest.mark.parametrize("line", LINES)
def test_a_command_is_accepted(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check(line)


@pytest.mark.parametrize("name", FIGURES)
def test_the_commands_that_measure_a_table_are_accepted(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = f"docs/figures/{name}.json"
    # -B as if nothing were there; -o because what is installed is not to be renewed.
    make = ("make", "-Bn", "-o", ".venv/ready", "-o", ".venv-npu/ready", "-o", "arm64", target)
    told = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    commands = [
        re.sub(r"^\.venv(-npu)?/bin/", "", command.strip())
        for command in re.split(r"&&|\n", told.replace("\\\n", " "))
        if re.match(r"\s*\.venv(-npu)?/bin/bokeh-", command)
    ]
    assert commands
    monkeypatch.chdir(tmp_path)
    for command in commands:
        check(command)
    # A study writes the file itself; the report of a benchmark is copied.
    assert f"--output {target}" in commands[-1] or f"/report.json {target}" in told


def test_there_are_commands_of_every_program() -> None:
    programs = {shlex.split(param.values[0], comments=True)[0] for param in LINES}
    assert programs >= {*COMMANDS, "make", "pip"}


@pytest.mark.parametrize(
    "line",
    [
        "bokeh-render photo.jpg --no-such-option",
        "bokeh-bench --threads none",
        "bokeh-bench study none",
        "bokeh-bench study gpu --size 1",
        "bokeh-train fit",
        "make no-such-target",
        "pip install '.[no-such-extra]'",
        "no-such-program",
    ],
)
def test_a_wrong_command_is_found(line: str) -> None:
    with pytest.raises((click.UsageError, AssertionError)):
        check(line)
