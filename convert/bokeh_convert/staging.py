"""Puts the files of one run in place together, or none of them."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

from bokeh_runtime.errors import InputError


class Staging:
    """Files written under temporary names beside their final place, then renamed.

    A run that ends early, by an error, Ctrl-C or a full disk, leaves what was there before.

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
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.path("writable").touch()
        except OSError as error:
            raise InputError(
                f"{folder}: cannot be written to ({error.strerror}); choose another --output-dir"
            ) from error
        self._discard()

    def path(self, name: str) -> Path:
        """Returns the temporary path of the file that will be called `name`."""
        if name not in self._names:
            self._names.append(name)
        # The process id keeps two runs into one folder apart; the suffix stays, since it decides
        # the format of a picture.
        return self._folder / f".part-{os.getpid()}-{name}"

    def commit(self) -> None:
        """Renames every file to its final name."""
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
