"""What Windows does with files that other systems do not."""

from __future__ import annotations

import os
import time
from pathlib import Path

from bokeh_runtime.errors import InputError

ON_WINDOWS = os.name == "nt"
_RESERVED = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"} | {
    f"{device}{number}" for device in ("COM", "LPT") for number in "0123456789\u00b9\u00b2\u00b3"
}
_FORBIDDEN = set('<>:"/\\|?*')
# ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION: what an open file is answered with.
_OPEN_ELSEWHERE = (5, 32)
_PATIENCE_S = 1.0
"""Virus scanners and indexers open a new file for a moment."""


def refuse_name(path: Path) -> None:
    """Refuses a file's name that Windows has no file for; on other systems, nothing.

    It would write to a device (NUL), to a hidden stream of another file (a:b), or under another
    name (a dot or space at the end is dropped), without an error.

    Raises:
        InputError: If so.
    """
    if ON_WINDOWS and is_reserved(path.name):
        raise InputError(f"{path}: Windows allows no file of that name; choose another")


def is_reserved(name: str) -> bool:
    """Says whether Windows has no file of this name, whatever the system is here."""
    # What stands before the first dot counts: NUL.txt is the device too.
    stem = name.partition(".")[0].rstrip(" ").upper()
    return (
        stem in _RESERVED
        or name.endswith((".", " "))
        or any(one in _FORBIDDEN or ord(one) < 32 for one in name)
    )


def replace(source: Path, target: Path) -> None:
    """Renames a file and replaces what has that name, as os.replace.

    Waits a moment for a file that another program holds open, which only Windows refuses.

    Raises:
        OSError: If it cannot be done.
    """
    give_up = time.monotonic() + _PATIENCE_S
    while True:
        try:
            os.replace(source, target)
        except PermissionError as error:
            if not _is_open(error) or time.monotonic() > give_up:
                raise
            time.sleep(_PATIENCE_S / 20)
        else:
            return


def why(error: BaseException) -> str:
    """Returns the cause of an error in a few words."""
    if _is_open(error):
        return "another program has it open, or it is write-protected; close it and call again"
    return str(getattr(error, "strerror", None) or error or type(error).__name__)


def _is_open(error: BaseException) -> bool:
    return getattr(error, "winerror", None) in _OPEN_ELSEWHERE
