"""Errors whose message is meant for the user of a command or of the library."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_MAKE_ROOM = "make room there and in the folder of temporary files (TMPDIR)"


@dataclass(frozen=True)
class Argument:
    """An argument of a library call, as a part of an error's message.

    The library shows `delegate='cpu'`, and a command shows its option, `--delegate cpu`.

    Attributes:
        name: Name of the parameter or data class field.
        value: Its value. None names the argument alone: `output`, `--output`. True is a flag:
            `allow_partial=True`, `--allow-partial`.
        typed: The value as it is typed on a command line, if `str(value)` is not.
    """

    name: str
    value: object = None
    typed: str | None = None

    def __str__(self) -> str:
        return self.name if self.value is None else f"{self.name}={self.value!r}"

    def as_option(self, options: Mapping[str, str]) -> str:
        """Returns the option with its value; the argument if no option has its name.

        Args:
            options: Name of the option by name of the argument; see `option_names`.
        """
        option = options.get(self.name)
        if option is None:
            return str(self)
        if self.value is None or self.value is True:
            return option
        return f"{option} {self.value if self.typed is None else self.typed}"


class UserError(Exception):
    """An error with a message of one line that names the file, the cause and the remedy.

        InputError(f"{path}: needs a depth map", remedy=("give ", Argument("depth")))

    `str(error)` names arguments, for users of the library. A command shows `in_options`.

    Args:
        message: Parts of the message, which are concatenated: texts, arguments, and errors that
            this one wraps.
        remedy: Parts of the sentence that says what to do, if that names arguments. Any other
            remedy may be a part of the message.
    """

    def __init__(self, *message: object, remedy: Sequence[object] = ()) -> None:
        self._message, self._remedy = message, remedy
        super().__init__(self._text({}))

    @property
    def cause(self) -> str:
        """The message without `remedy`."""
        return _joined(self._message, {})

    def in_options(self, options: Mapping[str, str]) -> str:
        """Returns the message with the options of a command in place of arguments.

        Args:
            options: Name of the option by name of the argument; see `option_names`.
        """
        return self._text(options)

    def _text(self, options: Mapping[str, str]) -> str:
        parts = [part for part in (self._message, self._remedy) if part]
        return "; ".join(_joined(part, options) for part in parts)


class InputError(UserError, ValueError):
    """The request or the input is wrong. The commands exit with code 2."""


class HardwareError(UserError, RuntimeError):
    """The requested hardware is missing or cannot run the whole model. Commands exit with 3."""


def option_names(command: click.Command) -> dict[str, str]:
    """Returns the options of a command by their parameter names, such as `--delegate`."""
    return {
        parameter.name: max(parameter.opts, key=len)
        for parameter in command.params
        if parameter.name and parameter.opts[0].startswith("-")
    }


def given_arguments(context: click.Context) -> list[str]:
    """Returns the names of a command's parameters that were typed; others have their defaults."""
    from click.core import ParameterSource

    typed = ParameterSource.COMMANDLINE
    return [name for name in context.params if context.get_parameter_source(name) is typed]


def printable(text: str) -> str:
    """Escapes control characters in untrusted text, such as a name in a model file.

    A terminal would obey them, so that the text could overwrite what is on the screen.
    """
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text
    )


def _joined(parts: Sequence[object], options: Mapping[str, str]) -> str:
    return printable("".join(_part_text(part, options) for part in parts))


def _part_text(part: object, options: Mapping[str, str]) -> str:
    if isinstance(part, Argument):
        return part.as_option(options)
    return part.in_options(options) if isinstance(part, UserError) else str(part)


def path_fault(error: OSError) -> str:
    """Returns the message of an error of the disk, such as a name too long, or a full disk.

    Raises:
        OSError: The error itself, if it is of something else, such as a connection.
    """
    cause = " ".join(str(error.strerror or error).split())
    if error.filename is not None:
        full = error.errno in _FULL
        return printable(f"{error.filename}: {cause}; {_MAKE_ROOM if full else 'check the path'}")
    # A write to an open file names none. NumPy's has no number either, but such words as "96
    # requested and 32 written".
    if error.errno in _FULL or (error.errno is None and cause.endswith(" written")):
        return f"cannot write ({cause}); {_MAKE_ROOM}"
    if error.errno == errno.EIO:
        return f"cannot read or write ({cause}); check the disk"
    raise error


def missing_package(error: ImportError, extras: str) -> str:
    """Returns the message of an import of a package that is not installed.

    Args:
        error: The error.
        extras: The extras of our package that have it, such as "bench".

    Raises:
        ImportError: The error itself, if it is not about another package.
    """
    if error.name is None or error.name.startswith("bokeh"):
        raise error
    return f"{error.name} is not installed; pip install 'bokeh-tflite[{extras}]'"
