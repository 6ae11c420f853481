"""What `bokeh-bench` and `bokeh-bench study` share: option types and error handling."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import click

from bokeh_runtime.backends.native_log import hide_native_log
from bokeh_runtime.errors import (
    HardwareError,
    InputError,
    given_arguments,
    missing_package,
    option_names,
    path_fault,
)
from bokeh_runtime.interrupt import INTERRUPTED, interruptible

HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}
PATH = click.Path(path_type=Path)
verbose_option = click.option(
    "-v", "--verbose", is_flag=True, help="Show the log messages of the libraries."
)


@dataclass(frozen=True)
class Session:
    """A running command.

    Attributes:
        stderr: Where messages go; the libraries' log messages do not get there.
        check_interrupt: Ends the command if a library has swallowed a Ctrl-C.
    """

    stderr: TextIO
    check_interrupt: Callable[[], None]


def given_options() -> list[str]:
    """Returns the options of the running command that were given, such as "--threads"."""
    context = click.get_current_context()
    given = given_arguments(context)
    return [option for name, option in option_names(context.command).items() if name in given]


@contextlib.contextmanager
def exit_on_errors(
    *, extras: str, verbose: bool = False, interrupted: str = "interrupted"
) -> Iterator[Session]:
    """Ends the command with one line and an exit code if the block raises an expected error.

    Exit codes: 2 for wrong input, a missing package or a full disk, 3 for missing hardware, 130 for
    Ctrl-C.

    Args:
        extras: The package's extras that the command needs, such as "bench".
        verbose: Whether to show the log messages of the libraries.
        interrupted: The line for a Ctrl-C.
    """
    message, exit_code = "", 0
    with hide_native_log(verbose) as stderr:
        try:
            with interruptible() as check_interrupt:
                yield Session(stderr, check_interrupt)
        except (InputError, HardwareError) as error:
            options = option_names(click.get_current_context().command)
            message = error.in_options(options)
            exit_code = 2 if isinstance(error, InputError) else 3
        except OSError as error:
            message, exit_code = path_fault(error), 2
        except ImportError as error:
            message, exit_code = missing_package(error, extras), 2
        except KeyboardInterrupt:
            message, exit_code = interrupted, INTERRUPTED
    if message:
        click.echo(f"bokeh-bench: {message}", err=True)
        sys.exit(exit_code)
