"""Prints a command's report."""

from __future__ import annotations

import os
import sys

import click


def print_on_stdout(text: str) -> None:
    """Prints text on stdout; ends the program with exit code 2 if it cannot, as on a full disk."""
    try:
        click.echo(_encodable(text))
    except BrokenPipeError:
        raise  # whoever read it has enough: click ends the program without a word
    except OSError as error:
        cause = f"cannot be written ({error.strerror}); free space, or print elsewhere"
        click.echo(f"stdout: {cause}", err=True)
        # What is left in the buffer would fail again at the end of the program.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(2)


def _encodable(text: str) -> str:
    """Returns the text with escapes for what the encoding of stdout, as on Windows, cannot hold."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
