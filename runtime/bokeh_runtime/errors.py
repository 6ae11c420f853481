"""Errors whose message is meant for the person at the terminal."""

from __future__ import annotations


class InputError(ValueError):
    """The request or the input is wrong; the commands exit with code 2.

    The message is one line that names the file, the cause and the remedy.
    """
