"""Errors whose message is meant for the person at the terminal."""

from __future__ import annotations


class InputError(ValueError):
    """The request or the input is wrong; the commands exit with code 2.

    The message is one line that names the file, the cause and the remedy.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(printable(str(message)))


class HardwareError(RuntimeError):
    """The asked hardware is not here, or cannot run the whole model; the commands exit with 3.

    The message is one line that names what was asked, the cause and the remedy.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(printable(str(message)))


def printable(text: str) -> str:
    """Returns text of a stranger's, such as a name in a model file, as a terminal may show it.

    Control characters, with which it could rewrite what stands on the screen, become escapes.
    """
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text
    )
