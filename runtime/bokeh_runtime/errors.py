"""Errors whose message is meant for the person at the terminal."""

from __future__ import annotations


class InputError(ValueError):
    """The request or the input is wrong; the commands exit with code 2.

    The message is one line that names the file, the cause and the remedy.
    """


class HardwareError(RuntimeError):
    """The asked hardware is not here, or cannot run the whole model; the commands exit with 3.

    The message is one line that names what was asked, the cause and the remedy.
    """
