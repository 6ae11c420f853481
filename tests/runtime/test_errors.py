"""An error names arguments for users of the library, and options for users of a command."""

from __future__ import annotations

import errno
import pickle

import click
import pytest

from bokeh_runtime.cli import main
from bokeh_runtime.errors import (
    Argument,
    HardwareError,
    InputError,
    UserError,
    option_names,
    path_fault,
)
from bokeh_runtime.finite_range import FiniteRange

OPTIONS = {"delegate": "--delegate", "allow_partial": "--allow-partial", "size": "--size"}
ROOM = "make room there and in the folder of temporary files (TMPDIR)"


@pytest.mark.parametrize(
    ("argument", "in_python", "on_a_command_line"),
    [
        (Argument("delegate"), "delegate", "--delegate"),
        (Argument("delegate", "cpu"), "delegate='cpu'", "--delegate cpu"),
        (Argument("allow_partial", True), "allow_partial=True", "--allow-partial"),
        (Argument("size", (64, 96), typed="64x96"), "size=(64, 96)", "--size 64x96"),
        (Argument("depth", "a.png"), "depth='a.png'", "depth='a.png'"),
    ],
    ids=["name alone", "value", "flag", "typed otherwise", "no such option"],
)
def test_an_argument_has_two_forms(
    argument: Argument, in_python: str, on_a_command_line: str
) -> None:
    error = InputError("photo.jpg: use ", argument, " here")
    assert str(error) == f"photo.jpg: use {in_python} here"
    assert error.in_options(OPTIONS) == f"photo.jpg: use {on_a_command_line} here"


@pytest.mark.parametrize("kind", [InputError, HardwareError])
def test_cause_and_remedy_are_separate(kind: type[UserError]) -> None:
    error = kind(
        "gpu: no device found",
        remedy=("use ", Argument("delegate", "npu"), " or ", Argument("delegate", "cpu")),
    )
    assert error.cause == "gpu: no device found"
    assert str(error) == "gpu: no device found; use delegate='npu' or delegate='cpu'"
    assert error.in_options(OPTIONS) == (
        "gpu: no device found; use --delegate npu or --delegate cpu"
    )


def test_a_plain_message_has_one_form() -> None:
    error = InputError("a.jpg: no such file")
    assert str(error) == error.cause == error.in_options(OPTIONS) == "a.jpg: no such file"


def test_control_characters_are_escaped_in_every_form() -> None:
    error = InputError("a\x1b[2J: ", Argument("delegate", "c\x1bpu"), remedy=("\x07",))
    for text in (str(error), error.cause, error.in_options(OPTIONS)):
        assert text.isprintable()


def test_a_wrapped_error_keeps_both_forms() -> None:
    inner = InputError("takes no depth map", remedy=("omit ", Argument("depth")))
    outer = InputError("photo.jpg: ", inner)
    assert str(outer) == "photo.jpg: takes no depth map; omit depth"
    assert outer.in_options({"depth": "--depth"}) == ("photo.jpg: takes no depth map; omit --depth")


def test_an_error_can_be_pickled() -> None:
    error = HardwareError("gpu: none", remedy=("use ", Argument("delegate", "cpu")))
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error)
    assert copy.in_options(OPTIONS) == error.in_options(OPTIONS)


def test_a_command_knows_its_options() -> None:
    names = option_names(main)
    assert names["delegate"] == "--delegate"
    assert names["output"] == "--output"
    assert names["as_json"] == "--json"
    assert "photo" not in names  # an argument of the command has no option's name


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENAMETOOLONG, "Too long", "a.jpg"), "a.jpg: Too long; check the path"),
        (OSError(errno.ENOSPC, "No space", "a.jpg"), f"a.jpg: No space; {ROOM}"),
        (OSError(errno.ENOSPC, "No space"), f"cannot write (No space); {ROOM}"),
        (OSError(errno.EIO, "Fault"), "cannot read or write (Fault); check the disk"),
        # As NumPy raises it where fewer values were written.
        (
            OSError("9 requested\nand 0 written"),
            f"cannot write (9 requested and 0 written); {ROOM}",
        ),
    ],
)
def test_an_error_of_the_disk_is_one_line(error: OSError, line: str) -> None:
    assert path_fault(error) == line


def test_a_pipe_whose_reader_is_gone_is_no_fault_of_the_disk() -> None:
    with pytest.raises(BrokenPipeError):
        path_fault(BrokenPipeError(errno.EPIPE, "Broken pipe"))


@pytest.mark.parametrize("text", ["nan", "inf", "-inf"])
def test_a_number_that_is_not_finite_is_within_no_range(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not"):
        FiniteRange(min=0).convert(text, None, None)
    assert FiniteRange(min=0).convert("0.5", None, None) == 0.5
