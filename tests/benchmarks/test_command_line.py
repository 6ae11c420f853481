"""How `bokeh-bench` ends when the disk is full."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result

from bokeh_bench.command_line import exit_on_errors

FULL_DISK = Path("/dev/full")


def run(step: Callable[[], object]) -> Result:
    @click.command()
    def command() -> None:
        with exit_on_errors(extras="bench"):
            step()

    return CliRunner().invoke(command)


def no_room() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.skipif(not FULL_DISK.exists(), reason="only Linux has a disk that is always full")
@pytest.mark.parametrize(
    "write",
    [
        no_room,
        lambda: FULL_DISK.write_text("x"),
        lambda: FULL_DISK.write_bytes(bytes(10**5)),
        lambda: np.zeros(10**5).tofile(FULL_DISK),
    ],
)
def test_a_full_disk_is_one_line_and_exit_code_2(write: Callable[[], object]) -> None:
    done = run(write)
    assert done.exit_code == 2
    assert done.output.startswith("bokeh-bench: cannot write (")
    assert "; make room there and in the folder of temporary files" in done.output
    assert done.output.count("\n") == 1


@pytest.mark.parametrize(
    "error", [OSError("a fault of the program"), ConnectionResetError(104, "reset")]
)
def test_another_error_without_a_file_is_not_hidden(error: OSError) -> None:
    def fail() -> None:
        raise error

    assert run(fail).exception is error
