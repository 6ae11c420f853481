"""Writes a set of files atomically: all of them appear at their final paths, or none."""

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

_RUN_PREFIX = ".bokeh-tflite-run-"
# Subfolders of a run's folder. Later versions must know these names to recover a killed run.
_WRITTEN, _COMMITTING, _BACKUPS = "new", "whole", "old"
_RUN_LOCK, _FOLDER_LOCK = "lock", ".bokeh-tflite.lock"
_LOCK_TIMEOUT_S = 60.0
# Errors of file systems without locks.
_LOCKS_UNSUPPORTED = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP}


class AtomicOutput:
    """Files that are written in a hidden subfolder and renamed to their final paths together.

        with AtomicOutput(folder) as output:
            output.path("a.tflite").write_bytes(content)
            output.commit()

    An error, Ctrl-C or a full disk before `commit` ends leaves the folder as it was. If the process
    is killed during `commit`, the next run into the folder finishes the renames; until then, files
    of both runs may be mixed. If it is killed earlier, the next run removes its files. A loss of
    power is not covered.

    Several runs may write into one folder; their commits run one after the other. Each run holds a
    lock until its process ends, so that other runs do not touch its files. On a file system without
    locks, files of killed runs are not recovered, but no single file is ever incomplete.

    Args:
        folder: The output folder. It is created if it does not exist.

    Raises:
        InputError: If the folder cannot be created or written to, another run blocks it for a
            minute, or the commit of a killed run cannot be finished.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: list[str] = []
        self._committed: list[str] = []
        self._run_folder = folder / f"{_RUN_PREFIX}{secrets.token_hex(4)}"
        self._lock: FileLock | None = None
        try:
            # This must come first: where a file cannot be created, filelock waits and retries.
            self._run_folder.mkdir(parents=True)
            with _commit_lock(folder):
                _recover_killed_runs(folder)  # removes our folder too, which has no lock yet
                (self._run_folder / _WRITTEN).mkdir(parents=True)
                self._lock = _acquire(self._run_folder / _RUN_LOCK, timeout_s=0)
        except BaseException as error:
            self._clean_up()
            if isinstance(error, OSError):
                raise InputError(
                    f"{folder}: cannot be written to ({why(error)}); choose another folder"
                ) from error
            raise

    def path(self, name: str) -> Path:
        """Returns the temporary path at which to write the file `name`.

        Raises:
            InputError: If there is a folder of that name, or Windows does not allow the name.
        """
        if name not in self._names:
            refuse_name(self._folder / name)
            refuse_folder(self._folder / name)
            self._names.append(name)
        return self._run_folder / _WRITTEN / name

    def commit(self) -> None:
        """Renames every file to its final path.

        Raises:
            InputError: If that fails. The message says which files were changed, usually none.
        """
        try:
            with _commit_lock(self._folder):
                self._check_targets()
                self._replace_targets()
        except OSError as error:
            paths = [str(path) for path in (error.filename2, error.filename) if path]
            ours = [path for path in paths if not path.startswith(str(self._run_folder))]
            raise InputError(
                f"{(ours or [str(self._folder)])[0]}: cannot be replaced ({why(error)}); "
                f"{self._change_summary()}"
            ) from error
        self._committed += self._names
        self._names.clear()

    def __enter__(self) -> AtomicOutput:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._clean_up()
        if isinstance(error, OSError):
            named = str(error.filename or "")
            if named and not named.startswith(str(self._run_folder)):
                raise InputError(
                    f"{named}: {why(error)}; {self._folder}: {self._change_summary()}"
                ) from error
            raise InputError(
                f"{self._folder}: writing failed ({why(error)}); {self._change_summary()}"
            ) from error

    def _check_targets(self) -> None:
        """Checks before the first rename for what would make one fail."""
        found: dict[tuple[int, int], str] = {}
        for name in self._names:
            refuse_folder(self._folder / name)
            status = (self._run_folder / _WRITTEN / name).stat()
            other = found.setdefault((status.st_dev, status.st_ino), name)
            if other != name:
                raise InputError(
                    f"{self._folder}: {other} and {name} are the same file, since case is ignored "
                    f"there; rename one; {self._change_summary()}"
                )

    def _replace_targets(self) -> None:
        written, committing, backups = self._subfolders()
        if len(self._names) == 1:  # a single rename is atomic
            replace(written / self._names[0], self._folder / self._names[0])
            return
        for path in written.iterdir():
            if path.name not in self._names:
                path.unlink()
        backups.mkdir()
        try:
            for name in self._names:
                _add_backup_link(self._folder / name, backups / name)
            # From here on, the next run finishes the commit if this one is killed.
            written.rename(committing)
            for name in self._names:
                target = self._folder / name
                if os.path.lexists(target) and not os.path.lexists(backups / name):
                    replace(target, backups / name)
                replace(committing / name, target)
        except BaseException as error:
            self._roll_back(error)
            raise
        with contextlib.suppress(OSError):
            committing.rename(written)
        shutil.rmtree(backups, ignore_errors=True)

    def _roll_back(self, cause: BaseException) -> None:
        """Restores the previous files. If killed meanwhile, the next run finishes the commit."""
        written, committing, backups = self._subfolders()
        if not committing.is_dir():
            return
        try:
            for name in self._names:
                target = self._folder / name
                if not os.path.lexists(committing / name):
                    replace(target, committing / name)
                # Otherwise the target has both names; Windows would refuse this for an open file.
                if os.path.lexists(backups / name) and not os.path.lexists(target):
                    replace(backups / name, target)
            committing.rename(written)
        except OSError as restore_error:
            replaced = [name for name in self._names if not os.path.lexists(committing / name)]
            remaining = [name for name in self._names if name not in replaced]
            raise InputError(
                f"{self._folder}: writing failed ({why(cause)}), and so did restoring "
                f"({why(restore_error)}); replaced: {_name_list(replaced)}; not replaced: "
                f"{_name_list(remaining)}; the next run into this folder tries again"
            ) from restore_error
        shutil.rmtree(backups, ignore_errors=True)

    def _subfolders(self) -> tuple[Path, Path, Path]:
        run = self._run_folder
        return run / _WRITTEN, run / _COMMITTING, run / _BACKUPS

    def _change_summary(self) -> str:
        if self._committed:
            return f"already written: {_name_list(self._committed)}"
        return "no file was changed"

    def _clean_up(self) -> None:
        _remove_run_folder(self._run_folder)
        if self._lock is not None:
            self._lock.release()
            self._lock = None
            _remove_run_folder(self._run_folder)  # Windows does not remove an open file
        self._names.clear()


def refuse_folder(path: Path) -> None:
    """Checks that the path of a file to be written is not a folder.

    Raises:
        InputError: If it is a folder.
    """
    if path.is_dir() and not path.is_symlink():
        raise InputError(f"{path}: is a folder, not a file; move the folder away")


@contextlib.contextmanager
def folder_lock(folder: Path, name: str) -> Iterator[None]:
    """Holds a lock on a folder, so that only one run at a time works in it.

    Args:
        folder: The folder. It is created if it does not exist.
        name: Name of the lock file in it. Runs with the same name exclude each other.

    Raises:
        InputError: If another run holds the lock, or the folder cannot be written to.
    """
    with AtomicOutput(folder):
        pass  # checks that the folder can be written to
    try:
        lock = _acquire(folder / name, timeout_s=0)
    except Timeout as error:
        raise InputError(
            f"{folder}: in use by another run; wait until it ends, or choose another folder"
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
def _commit_lock(folder: Path) -> Iterator[None]:
    """Holds the lock that only one commit into the folder can hold.

    Raises:
        InputError: If another run does not release it within `_LOCK_TIMEOUT_S`.
        OSError: If the lock file cannot be created.
    """
    path = folder / _FOLDER_LOCK
    try:
        # In a folder that several users share, each must be able to open the lock file.
        lock = _acquire(path, timeout_s=_LOCK_TIMEOUT_S, mode=0o666)
    except Timeout as error:
        raise InputError(
            f"{folder}: another run has been writing files there for {_LOCK_TIMEOUT_S:.0f} s; "
            "try again when it has ended; no file was changed"
        ) from error
    try:
        yield
    finally:
        # Removed while the lock is held: a waiting run notices and creates a new file.
        with contextlib.suppress(OSError):
            path.unlink()
        if lock is not None:
            lock.release()


def _acquire(path: Path, *, timeout_s: float, mode: int = 0o644) -> FileLock | None:
    """Acquires and returns a lock; returns None on a file system without locks.

    Raises:
        Timeout: If another run holds the lock.
        OSError: If the lock file cannot be created.
    """
    # No fallback to a soft lock: it is only a file, which would outlive a killed run.
    lock = FileLock(path, timeout_s, mode, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire()
    except OSError as error:
        if error.errno not in _LOCKS_UNSUPPORTED:
            raise
        return None
    return lock


def _recover_killed_runs(folder: Path) -> None:
    """Finishes the commits of killed runs, and removes the files of all other killed runs."""
    for run in folder.glob(f"{_RUN_PREFIX}*"):
        if not re.fullmatch(f"{re.escape(_RUN_PREFIX)}[0-9a-f]{{8}}", run.name):
            continue
        try:
            lock = _acquire(run / _RUN_LOCK, timeout_s=0)
        except OSError:  # the run is alive or belongs to another user
            continue
        if lock is None:
            continue
        try:
            _finish_commit(run, folder)
            shutil.rmtree(run, ignore_errors=True)
        finally:
            lock.release()
        shutil.rmtree(run, ignore_errors=True)  # Windows does not remove an open file


def _finish_commit(run: Path, folder: Path) -> None:
    """Renames the remaining files of a run that was killed during its commit."""
    if not _has_unfinished_commit(run):
        return
    for path in sorted((run / _COMMITTING).iterdir()):
        target = folder / path.name
        try:
            replace(path, target)
        except OSError as error:
            raise InputError(
                f"{target}: an earlier run was killed before it could replace this file, and it "
                f"cannot be replaced now ({why(error)}); fix the cause, or remove {run}"
            ) from error


def _remove_run_folder(run: Path) -> None:
    if not _has_unfinished_commit(run):
        shutil.rmtree(run, ignore_errors=True)


def _has_unfinished_commit(run: Path) -> bool:
    try:
        return any((run / _COMMITTING).iterdir())
    except OSError:
        return False


def _add_backup_link(target: Path, backup: Path) -> None:
    """Adds a hard link to a file, if possible. Otherwise it is renamed before it is replaced."""
    with contextlib.suppress(OSError, NotImplementedError):
        os.link(target, backup, follow_symlinks=False)


def _name_list(names: list[str]) -> str:
    return ", ".join(names) or "none"
