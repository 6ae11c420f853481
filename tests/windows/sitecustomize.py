"""Makes a Python of Linux obey what Windows lacks and forbids, as far as files and modules go.

With this folder in PYTHONPATH it is loaded before anything else, in processes that a process
starts too. Modules and functions that only POSIX has are hidden; names that Windows has no files
for, and changes to files that are open, are refused. BOKEH_TESTS_OPEN names files, with os.pathsep,
that another program holds open; BOKEH_TESTS_HARD_LINKS=no is for file systems without them.
"""

from __future__ import annotations

import builtins
import errno
import importlib.abc
import importlib.machinery
import io
import os
import re
import sys
from collections.abc import Callable
from pathlib import PurePath
from types import ModuleType
from typing import Any

# These are others on Windows, and need there nothing of what is hidden below.
import filelock  # noqa: F401
import platformdirs.unix  # noqa: F401
import psutil

HIDDEN_MODULES = {"fcntl", "grp", "pty", "pwd", "resource", "termios"}
HIDDEN_FUNCTIONS = (
    *("fork", "forkpty", "getegid", "geteuid", "getgid", "getloadavg", "getuid", "killpg"),
    *("mkfifo", "pread", "pwrite", "sched_getaffinity", "setsid", "O_DIRECTORY"),
)
HIDDEN_FILES = ("/proc/cpuinfo", "/proc/self/status")
RULES = "bokeh_runtime.windows_files"
DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d) *(\..*)?", re.IGNORECASE)
FORBIDDEN = re.compile(r'[<>:"|?*\x00-\x1f]|[. ]$')
SHARING_VIOLATION, INVALID_NAME, NO_PRIVILEGE = 32, 123, 1314

_listdir, _readlink, _fspath, _realpath = os.listdir, os.readlink, os.fspath, os.path.realpath


class Hidden(importlib.abc.MetaPathFinder):
    """Knows no POSIX modules, and tells the project's own rules for Windows to hold."""

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> Any:
        if name in HIDDEN_MODULES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        if name != RULES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        assert spec is not None
        assert spec.loader is not None
        run = spec.loader.exec_module

        def on_windows(module: ModuleType) -> None:
            run(module)
            module.ON_WINDOWS = True  # type: ignore[attr-defined]

        spec.loader.exec_module = on_windows  # type: ignore[method-assign]
        return spec


def refused(number: int, code: int, words: str, *paths: object) -> OSError:
    # As Python gives them: of two paths, the second stands behind Windows' own number.
    error = OSError(number, words, paths[0], None, *paths[1:])
    error.winerror = code  # type: ignore[attr-defined]
    return error


def check_name(path: Any) -> None:
    if isinstance(path, int):
        return
    text = os.fsdecode(_fspath(path))
    if text in HIDDEN_FILES:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", text)
    for name in PurePath(text).parts:
        if name not in ("/", "..") and (DEVICE.fullmatch(name) or FORBIDDEN.search(name)):
            raise refused(errno.EINVAL, INVALID_NAME, "The filename syntax is incorrect", text)


def check_closed(path: Any, *paths: Any) -> None:
    """Refuses a file that is open, and a folder in which one is; `paths` are told in the error."""
    wanted = _realpath(os.fsdecode(_fspath(path)))
    found = [_realpath(one) for one in os.environ.get("BOKEH_TESTS_OPEN", "").split(os.pathsep)]
    for number in _listdir("/proc/self/fd"):
        try:
            found.append(_readlink(f"/proc/self/fd/{number}"))
        except OSError:
            continue
    for one in found:
        if one == wanted or one.startswith(f"{wanted}/"):
            words = "The process cannot access the file because it is being used"
            raise refused(errno.EACCES, SHARING_VIOLATION, words, *(paths or (path,)))


def checked(function: Callable[..., Any], *, moves: bool = False) -> Callable[..., Any]:
    """Returns the function with Windows' rules; `moves` is of those that take two paths."""

    def call(path: Any, *rest: Any, **how: Any) -> Any:
        check_name(path)
        if moves:
            check_name(rest[0])
            check_closed(path, path, rest[0])
            check_closed(rest[0], path, rest[0])
        return function(path, *rest, **how)

    return call


def only_closed(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(path: Any, *rest: Any, **how: Any) -> Any:
        if how.get("dir_fd") is None:
            check_closed(path)
        return function(path, *rest, **how)

    return call


def no_links(source: Any, target: Any, *rest: Any, **how: Any) -> None:
    raise refused(errno.EINVAL, NO_PRIVILEGE, "A required privilege is not held", target)


def memory_of_windows(self: psutil.Process) -> Any:
    resident = _memory(self)
    return type("pmem", (), {"rss": resident.rss, "peak_wset": resident.rss})()


_memory = psutil.Process.memory_info
psutil.Process.memory_info = memory_of_windows
sys.meta_path.insert(0, Hidden())
for module in HIDDEN_MODULES:
    sys.modules.pop(module, None)
for function in HIDDEN_FUNCTIONS:
    delattr(os, function)
builtins.open = io.open = checked(io.open)
os.open = checked(os.open)
os.mkdir = checked(os.mkdir)
os.rename = checked(os.rename, moves=True)
os.replace = checked(os.replace, moves=True)
os.unlink = only_closed(os.unlink)
os.remove = only_closed(os.remove)
os.symlink = no_links
if os.environ.get("BOKEH_TESTS_HARD_LINKS") == "no":
    os.link = no_links
