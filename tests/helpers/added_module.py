"""Adds a module to a package for the time of a test, as if its file were put there."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from types import ModuleType


@contextmanager
def added_module(package: ModuleType, name: str, source: str, folder: Path) -> Iterator[str]:
    """Yields the module's full name.

    Args:
        package: Where the module is found as long as the block runs.
        name: Name of the module.
        source: Its code.
        folder: An empty folder for its file.
    """
    (folder / f"{name}.py").write_text(dedent(source), encoding="utf-8")
    before, full_name = list(package.__path__), f"{package.__name__}.{name}"
    package.__path__ = [*before, str(folder)]
    importlib.invalidate_caches()
    try:
        yield full_name
    finally:
        package.__path__ = before
        sys.modules.pop(full_name, None)
        vars(package).pop(name, None)
