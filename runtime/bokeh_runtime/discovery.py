"""Finds the modules of a package, so that a new one is added by its file alone."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable
from importlib import import_module
from types import ModuleType


def modules_in(package: str, folders: Iterable[str]) -> list[ModuleType]:
    """Imports the modules and sub-packages that lie directly in a package.

    Args:
        package: Name of the package.
        folders: Its `__path__`.

    Returns:
        The modules, by their names in alphabetical order; not those that start with "_".
    """
    names = sorted(found.name for found in pkgutil.iter_modules(folders))
    return [import_module(f"{package}.{name}") for name in names if not name.startswith("_")]
