"""What the commands of `bokeh-train` share: terminal output, errors and exit codes."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import click
from rich.progress import MofNCompleteColumn, TimeRemainingColumn

from bokeh_convert.console import console_on, progress_bar
from bokeh_convert.progress import Progress
from bokeh_runtime.backends.native_log import hide_native_log
from bokeh_runtime.errors import InputError, missing_package, option_names, path_fault
from bokeh_runtime.interrupt import INTERRUPTED, interruptible

_BACKENDS = ("torch", "jax")


@dataclass(frozen=True)
class Terminal:
    """Terminal output of a command.

    Attributes:
        stderr: Where everything is shown.
        check: Raises KeyboardInterrupt if a library swallowed a Ctrl-C.
    """

    stderr: TextIO
    check: Callable[[], None]

    def note(self, text: str) -> None:
        """Shows a line."""
        click.echo(text, file=self.stderr)

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """Yields a progress callback that shows a bar on a terminal, nothing in a pipe."""
        numbers = (MofNCompleteColumn(), TimeRemainingColumn())
        with progress_bar(console_on(self.stderr), self.check, *numbers) as progress:
            yield progress
        self.check()


def run_command(
    command: click.Command, work: Callable[[Terminal], None], *, resume_in: Path | None = None
) -> None:
    """Does the work of a command, hiding the log of native libraries.

    Args:
        command: The command, whose options errors name.
        work: What it does.
        resume_in: The folder in which the command resumes after Ctrl-C, if it does.
    """
    message, code = None, 0
    with hide_native_log(verbose=not _is_standard_error(sys.stderr)) as stderr:
        try:
            with interruptible() as check:
                work(Terminal(stderr, check))
        except InputError as error:
            message, code = error.in_options(option_names(command)), 2
        except OSError as error:
            message, code = path_fault(error), 2
        except ImportError as error:
            message, code = missing_package(error, "convert"), 2
            if error.name in _BACKENDS:  # which no extra has
                message = f"KERAS_BACKEND={error.name}: not installed; pip install {error.name}"
        except KeyboardInterrupt:
            resume = "" if resume_in is None else f"; repeat the command to resume in {resume_in}"
            message, code = f"interrupted{resume}", INTERRUPTED
    if message is not None:
        click.echo(f"bokeh-train: {message}", err=True)
        sys.exit(code)


def _is_standard_error(stream: TextIO) -> bool:
    """Returns whether a stream is the one that native libraries write to, not a replacement."""
    try:
        return stream.fileno() == 2
    except (io.UnsupportedOperation, AttributeError, ValueError):
        return False
