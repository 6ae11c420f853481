"""Puts the files of one run in place together, or none of them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from bokeh_runtime.errors import InputError

_PREFIX = ".part-"


class Staging:
    """Files written under temporary names beside their final place, then renamed.

    A run that ends early, by an error, Ctrl-C or a full disk, leaves what was there before. One
    that is killed leaves its temporary files too, and the next run into the folder removes them.
    Two runs into one folder put their files in place one after the other.

        with Staging(folder) as staging:
            staging.path("a.tflite").write_bytes(content)
            staging.commit()

    Args:
        folder: Made if missing.

    Raises:
        InputError: If the folder cannot be made or written to.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: list[str] = []
        self._prefix = f"{_PREFIX}{_host()}-{os.getpid()}-{secrets.token_hex(3)}-"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._sweep()
            self.path("writable").touch()
        except OSError as error:
            raise InputError(
                f"{folder}: cannot be written to ({error.strerror}); choose another folder"
            ) from error
        self._discard()

    def path(self, name: str) -> Path:
        """Returns the temporary path of the file that will be called `name`."""
        if name not in self._names:
            self._names.append(name)
        # The suffix stays, since it decides the format of a picture.
        return self._folder / f"{self._prefix}{name}"

    def commit(self) -> None:
        """Renames every file to its final name."""
        with _locked(self._folder):
            for name in self._names:
                os.replace(self.path(name), self._folder / name)
        self._names.clear()

    def __enter__(self) -> Staging:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._discard()
        if isinstance(error, OSError):
            raise InputError(
                f"{self._folder}: writing failed ({error.strerror}); nothing was changed there"
            ) from error

    def _discard(self) -> None:
        for name in self._names:
            self.path(name).unlink(missing_ok=True)
        self._names.clear()

    def _sweep(self) -> None:
        """Removes what runs on this machine left that were killed."""
        for path in self._folder.glob(f"{_PREFIX}{_host()}-*"):
            owner = re.match(rf"{_PREFIX}{_host()}-(\d+)-", path.name)
            if owner and not _is_running(int(owner[1])):
                path.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Holds the folder against other runs; the system lets go if the process dies."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        # A network folder may know no locks; renaming is then still whole file by file.
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _host() -> str:
    # In a container the name tells it from its neighbours, whose process ids mean nothing here.
    return re.sub(r"[^A-Za-z0-9.]", "_", socket.gethostname())


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
