"""Sets up the environment: an ARM Debian, LiteRT's ARM wheel, and the plugin that counts.

`python -m bokeh_bench.devices.arm64.environment FOLDER`. A step is skipped if it was done before
with the same versions.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import zipfile
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import click

from bokeh_bench import child_process
from bokeh_bench.devices.arm64.runner import NEEDS_LINUX
from bokeh_runtime.atomic_output import AtomicOutput, folder_lock
from bokeh_runtime.errors import InputError

PROGRAMS = {"qemu-aarch64": "qemu-user", "debootstrap": "debootstrap", "gcc": "gcc"}
DEBIAN, PYTHON = "bookworm", "3.11"
# Versions for Debian's Python; LiteRT's version is that of the running environment.
_WHEELS = (
    "numpy==1.26.4", "flatbuffers==25.12.19", "protobuf==7.36.2", "backports.strenum==1.2.8",
)  # fmt: skip
_COUNT = Path(__file__).parent / "count.c"
_SECONDS = 3600.0
"""Time limit of each program; some of them download."""
_PLATFORMS = ("manylinux_2_27_aarch64", "manylinux2014_aarch64")


def set_up(folder: Path) -> None:
    """Sets up in `folder` what `bokeh_bench.devices.arm64.runner` needs.

    Raises:
        InputError: If a program is missing, a download fails, or another run is setting up the
            same folder.
    """
    if sys.platform != "linux":
        raise InputError(NEEDS_LINUX)
    missing = [package for program, package in PROGRAMS.items() if not _program(program)]
    if missing:
        _install(missing)
    wheels = [f"ai-edge-litert=={version('ai-edge-litert')}", *_WHEELS]
    with folder_lock(folder, "setup.lock"):
        _step(folder / "root", f"{DEBIAN} python{PYTHON}", _debian)
        _step(folder / "site", " ".join(wheels), lambda site: _wheels(site, wheels))
        _step(folder / "count.so", hashlib.sha256(_COUNT.read_bytes()).hexdigest(), _plugin)


def _step(target: Path, made_from: str, make: Callable[[Path], None]) -> None:
    """Makes `target` unless it was made from the same versions.

    It is made under another name first, so that an interrupted step is repeated.
    """
    stamp = target.with_name(f"{target.name}.made-from")
    if target.exists() and stamp.is_file() and stamp.read_text() == made_from:
        return
    click.echo(f"making {target}", err=True)
    unfinished = target.with_name(f"{target.name}.unfinished")
    for path in (unfinished, stamp):
        _remove(path)
    make(unfinished)
    _remove(target)
    unfinished.rename(target)
    with AtomicOutput(stamp.parent) as staging:
        staging.path(stamp.name).write_text(made_from)
        staging.commit()


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    path.unlink(missing_ok=True)


def _debian(root: Path) -> None:
    """Unpacks an ARM Debian with Python and NumPy, without running its scripts."""
    _run(
        [
            _program("debootstrap"),
            *("--arch=arm64", "--foreign", "--variant=minbase"),
            *("--include=python3,python3-numpy", DEBIAN, str(root)),
        ]
    )
    for package in sorted((root / "var/cache/apt/archives").glob("*.deb")):
        _run(["dpkg", "-x", str(package), str(root)])
    shutil.rmtree(root / "var/cache/apt/archives")


def _wheels(site: Path, names: Sequence[str]) -> None:
    wheels = site.with_name("wheels")
    _remove(wheels)  # of an interrupted run
    platforms = [word for platform in _PLATFORMS for word in ("--platform", platform)]
    _run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
            *("--disable-pip-version-check", "--only-binary=:all:", "--python-version", PYTHON),
            *platforms,
            *("--dest", str(wheels)),
            *names,
        ]
    )
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
    shutil.rmtree(wheels)


def _plugin(library: Path) -> None:
    _run(["gcc", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", str(_COUNT), "-o", str(library)])


def _program(name: str) -> str | None:
    # Where Debian puts programs for root.
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")


def _install(packages: Sequence[str]) -> None:
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *packages]
    if os.geteuid() != 0:
        raise InputError(f"{', '.join(packages)}: not installed; run: sudo {' '.join(command)}")
    click.echo(f"installing {', '.join(packages)}", err=True)
    _run(["apt-get", "update"])
    _run(command)


def _run(command: Sequence[str | None]) -> None:
    words = [word for word in command if word is not None]
    try:
        done = child_process.run(words, seconds=_SECONDS)
    except child_process.TimeLimitError as error:
        raise InputError(f"{Path(words[0]).name}: {error}; check the network") from error
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        raise InputError(f"{Path(words[0]).name}: failed ({last[-1]}); fix that and run again")


if __name__ == "__main__":
    try:
        set_up(Path(sys.argv[1]))
    except InputError as error:
        click.echo(f"arm64: {str(error).removeprefix('arm64: ')}", err=True)
        sys.exit(2)
