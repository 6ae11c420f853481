"""Hashes of the project's source code: they tell whether figures are older than the code."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("bokeh_runtime", "bokeh_convert", "bokeh_bench")
TOP = "*.py"
"""Stands for the modules of a package that are in none of its sub-packages."""
_DIGITS = 16


def code_digests() -> dict[str, str]:
    """Returns a hash for each sub-package of the three packages.

    Returns:
        Keys are such as "bokeh_runtime/imaging" and, for the modules at the top of a package,
        "bokeh_runtime/*.py"; values are the first 16 hex digits of a SHA-256.
    """
    found = {}
    for package in PACKAGES:
        folder = _folder_of(package)
        found[f"{package}/{TOP}"] = _digest(folder, sorted(folder.glob(TOP)))
        for part in sorted(path.parent for path in folder.glob("*/__init__.py")):
            found[f"{package}/{part.name}"] = _digest(part, sorted(part.rglob(TOP)))
    return found


def _folder_of(package: str) -> Path:
    spec = find_spec(package)  # does not run the package
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(package)
    return Path(spec.origin).parent


def _digest(folder: Path, files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        content = file.read_bytes().replace(b"\r\n", b"\n")
        digest.update(f"{file.relative_to(folder).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:_DIGITS]
