"""Puts the files of one run in place together, or none of them."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from bokeh_runtime.errors import InputError
from bokeh_runtime.windows_files import refuse_name, replace, why

_RUN = ".bokeh-tflite-run-"
_LOCK = "lock"
_NEW, _WHOLE, _OLD = "new", "whole", "old"
_FOLDER_LOCK = ".bokeh-tflite.lock"
_WAIT_S = 60.0
# What a file system answers that knows no locks.
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP}


class AtomicOutput:
    """Files written in a hidden folder beside their final place, then renamed.

    A run that ends early, by an error, Ctrl-C or a full disk, leaves what was there before. One
    that is killed while it renames has its files put in place by the next run into the folder; one
    that is killed earlier has them removed. So two runs' files never stay mixed, but between such a
    kill and the next run they may be. A loss of power is not covered.

    Two runs into one folder put their files in place one after the other. Each holds a lock of its
    own while it lives, which the system frees when the process ends, and what belongs to a held
    lock is left alone. On a file system without locks what killed runs left stays, and each file
    by itself is still whole.

        with AtomicOutput(folder) as staging:
            staging.path("a.tflite").write_bytes(content)
            staging.commit()

    Args:
        folder: Made if missing.

    Raises:
        InputError: If the folder cannot be made or written to, another run holds it for a minute,
            or the files of a killed run cannot be put in place.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: list[str] = []
        self._in_place: list[str] = []
        self._run = folder / f"{_RUN}{secrets.token_hex(4)}"
        self._lock: FileLock | None = None
        try:
            # First of all: filelock waits where a file cannot be made for a reason that may pass.
            self._run.mkdir(parents=True)
            with _locked(folder):
                _sweep(folder)  # ours too, which nothing holds yet
                (self._run / _NEW).mkdir(parents=True)
                self._lock = _acquire(self._run / _LOCK, timeout_s=0)
        except BaseException as error:
            self._discard()
            if isinstance(error, OSError):
                raise InputError(
                    f"{folder}: cannot be written to ({why(error)}); choose another folder"
                ) from error
            raise

    def path(self, name: str) -> Path:
        """Returns the temporary path of the file that will be called `name`.

        Raises:
            InputError: If a folder has that name, or Windows knows no file of that name.
        """
        if name not in self._names:
            refuse_name(self._folder / name)
            refuse_folder(self._folder / name)
            self._names.append(name)
        return self._run / _NEW / name

    def commit(self) -> None:
        """Gives every file its final name.

        Raises:
            InputError: If that fails; it says what was changed, which is nothing as a rule.
        """
        try:
            with _locked(self._folder):
                self._check()
                self._replace()
        except OSError as error:
            paths = [str(path) for path in (error.filename2, error.filename) if path]
            ours = [path for path in paths if not path.startswith(str(self._run))]
            raise InputError(
                f"{(ours or [str(self._folder)])[0]}: cannot be put in place ({why(error)}); "
                f"{self._changed()}"
            ) from error
        self._in_place += self._names
        self._names.clear()

    def __enter__(self) -> AtomicOutput:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._discard()
        if isinstance(error, OSError):
            named = str(error.filename or "")
            if named and not named.startswith(str(self._run)):
                raise InputError(
                    f"{named}: {why(error)}; {self._folder}: {self._changed()}"
                ) from error
            raise InputError(
                f"{self._folder}: writing failed ({why(error)}); {self._changed()}"
            ) from error

    def _check(self) -> None:
        """Looks for what would stop the renames, before the first of them."""
        found: dict[tuple[int, int], str] = {}
        for name in self._names:
            refuse_folder(self._folder / name)
            status = (self._run / _NEW / name).stat()
            other = found.setdefault((status.st_dev, status.st_ino), name)
            if other != name:
                raise InputError(
                    f"{self._folder}: {other} and {name} are one file there, since upper and lower "
                    f"case are not told apart; rename one; {self._changed()}"
                )

    def _replace(self) -> None:
        new, whole, old = (self._run / name for name in (_NEW, _WHOLE, _OLD))
        if len(self._names) == 1:  # one rename is whole by itself
            replace(new / self._names[0], self._folder / self._names[0])
            return
        for path in new.iterdir():
            if path.name not in self._names:
                path.unlink()
        old.mkdir()
        try:
            for name in self._names:
                _keep(self._folder / name, old / name)
            # From here on, the next run finishes what a kill leaves.
            new.rename(whole)
            for name in self._names:
                target = self._folder / name
                if os.path.lexists(target) and not os.path.lexists(old / name):
                    replace(target, old / name)
                replace(whole / name, target)
        except BaseException as error:
            self._roll_back(error)
            raise
        with contextlib.suppress(OSError):
            whole.rename(new)
        shutil.rmtree(old, ignore_errors=True)

    def _roll_back(self, cause: BaseException) -> None:
        """Puts back what stood there before. Killed meanwhile, it leaves what a commit does."""
        new, whole, old = (self._run / name for name in (_NEW, _WHOLE, _OLD))
        if not whole.is_dir():
            return
        try:
            for name in self._names:
                target = self._folder / name
                if not os.path.lexists(whole / name):
                    replace(target, whole / name)
                # Else it is there, under both names; Windows would refuse that of an open file.
                if os.path.lexists(old / name) and not os.path.lexists(target):
                    replace(old / name, target)
            whole.rename(new)
        except OSError as again:
            placed = [name for name in self._names if not os.path.lexists(whole / name)]
            waiting = [name for name in self._names if name not in placed]
            raise InputError(
                f"{self._folder}: some files could not be put in place ({why(cause)}), nor the "
                f"others taken back ({why(again)}); new: {_listed(placed)}; not: "
                f"{_listed(waiting)}; the next run into this folder goes on with it"
            ) from again
        shutil.rmtree(old, ignore_errors=True)

    def _changed(self) -> str:
        if self._in_place:
            return f"{_listed(self._in_place)} had been put in place before"
        return "nothing was changed there"

    def _discard(self) -> None:
        if not _unfinished(self._run):
            shutil.rmtree(self._run, ignore_errors=True)
        if self._lock is not None:
            self._lock.release()
            self._lock = None
            if not _unfinished(self._run):  # Windows keeps a file that is open
                shutil.rmtree(self._run, ignore_errors=True)
        self._names.clear()


def refuse_folder(path: Path) -> None:
    """Refuses a file's path if a folder is there.

    Raises:
        InputError: If so.
    """
    if path.is_dir() and not path.is_symlink():
        raise InputError(
            f"{path}: is a folder, and a file of that name is to be written; move it away"
        )


@contextlib.contextmanager
def folder_lock(folder: Path, name: str) -> Iterator[None]:
    """Keeps a folder for one run, as long as the block lasts.

    Args:
        folder: Made if missing.
        name: Of the lock's file there; all runs that exclude each other name the same.

    Raises:
        InputError: If another run has it, or the folder cannot be written to.
    """
    with AtomicOutput(folder):
        pass  # it can be written to
    try:
        lock = _acquire(folder / name, timeout_s=0)
    except Timeout as error:
        raise InputError(
            f"{folder}: another run is at work there; wait for its end, or choose another folder"
        ) from error
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written to ({why(error)}); choose another folder"
        ) from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            (folder / name).unlink()
        if lock is not None:
            lock.release()


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Holds the folder against other runs.

    Raises:
        InputError: If another run does not let go of it.
        OSError: If the lock's file cannot be made.
    """
    path = folder / _FOLDER_LOCK
    try:
        # Of a folder that several users share, each of them must be able to open it.
        lock = _acquire(path, timeout_s=_WAIT_S, mode=0o666)
    except Timeout as error:
        raise InputError(
            f"{folder}: another run has been putting files in place there for {_WAIT_S:.0f} s; "
            "call again when it has ended; nothing was changed there"
        ) from error
    try:
        yield
    finally:
        # While it is held: who waits for it sees that the file is gone, and makes another.
        with contextlib.suppress(OSError):
            path.unlink()
        if lock is not None:
            lock.release()


def _acquire(path: Path, *, timeout_s: float, mode: int = 0o644) -> FileLock | None:
    """Returns a held lock; None where the file system knows none.

    Raises:
        Timeout: If another holds it.
        OSError: If its file cannot be made.
    """
    # A lock that is a mere file would outlive a killed run.
    lock = FileLock(path, timeout_s, mode, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire()
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return None
    return lock


def _sweep(folder: Path) -> None:
    """Finishes or removes what runs left that were killed."""
    for run in folder.glob(f"{_RUN}*"):
        if not re.fullmatch(f"{re.escape(_RUN)}[0-9a-f]{{8}}", run.name):
            continue
        try:
            lock = _acquire(run / _LOCK, timeout_s=0)
        except OSError:  # it lives, or belongs to another user
            continue
        if lock is None:
            continue
        try:
            _finish(run, folder)
            shutil.rmtree(run, ignore_errors=True)
        finally:
            lock.release()
        shutil.rmtree(run, ignore_errors=True)  # Windows keeps a file that is open


def _finish(run: Path, folder: Path) -> None:
    """Puts the files of a run in place that was killed while it did."""
    if not _unfinished(run):
        return
    for path in sorted((run / _WHOLE).iterdir()):
        target = folder / path.name
        try:
            replace(path, target)
        except OSError as error:
            raise InputError(
                f"{target}: an earlier run was killed before this file was in place, and it cannot "
                f"be put there ({why(error)}); mend that, or remove {run}"
            ) from error


def _unfinished(run: Path) -> bool:
    try:
        return any((run / _WHOLE).iterdir())
    except OSError:
        return False


def _keep(target: Path, kept: Path) -> None:
    """Gives a file a second name, under which it outlives its replacement."""
    # Where there are no hard links it is renamed later, right before it is replaced.
    with contextlib.suppress(OSError, NotImplementedError):
        os.link(target, kept, follow_symlinks=False)


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "none"
