"""Makes the environment: an ARM Debian, LiteRT's ARM wheel, and the counting plugin.

`python -m bokeh_bench.arm64.environment FOLDER`; each step is skipped if it is done already.
"""

from __future__ import annotations

import os
import shutil
import sys
import zipfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import click

from bokeh_bench import process
from bokeh_runtime.errors import InputError

PROGRAMS = {"qemu-aarch64": "qemu-user", "debootstrap": "debootstrap", "gcc": "gcc"}
DEBIAN, PYTHON = "bookworm", "3.11"
# Versions that go with Debian's Python; LiteRT's is that of this environment.
_WHEELS = (
    "numpy==1.26.4", "flatbuffers==25.12.19", "protobuf==7.36.2", "backports.strenum==1.2.8",
)  # fmt: skip
_SECONDS = 3600.0
"""Of each program; some download."""
_PLATFORMS = ("manylinux_2_27_aarch64", "manylinux2014_aarch64")

# XNNPACK reads the processor's kind here, and stops on an x86 one. A Cortex-A76 (ARM, part 0xd0b).
_CPUINFO = """processor\t: 0
BogoMIPS\t: 48.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc \
dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x3
CPU part\t: 0xd0b
CPU revision\t: 0

"""


def set_up(folder: Path) -> None:
    """Makes in `folder` what `bokeh_bench.arm64.runner` needs.

    Raises:
        InputError: If a program is missing, or a download fails.
    """
    missing = [package for program, package in PROGRAMS.items() if not _program(program)]
    if missing:
        _install(missing)
    folder.mkdir(parents=True, exist_ok=True)
    _step(folder / "root", _debian)
    _step(folder / "site", _wheels)
    _step(folder / "count.so", _plugin)
    (folder / "cpuinfo").write_text(_CPUINFO)


def _step(target: Path, make: object) -> None:
    """Makes `target` under another name first, so that an interrupted step is done again."""
    if target.exists():
        return
    click.echo(f"making {target}", err=True)
    unfinished = target.with_name(f"{target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.unlink(missing_ok=True)
    make(unfinished)  # type: ignore[operator]
    unfinished.rename(target)


def _debian(root: Path) -> None:
    """Unpacks an ARM Debian with Python and NumPy; none of its scripts is run."""
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


def _wheels(site: Path) -> None:
    wheels = site.with_name("wheels")
    platforms = [word for platform in _PLATFORMS for word in ("--platform", platform)]
    _run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
            *("--disable-pip-version-check", "--only-binary=:all:", "--python-version", PYTHON),
            *platforms,
            *("--dest", str(wheels)),
            *(f"ai-edge-litert=={version('ai-edge-litert')}", *_WHEELS),
        ]
    )
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
    shutil.rmtree(wheels)


def _plugin(library: Path) -> None:
    source = Path(__file__).parent / "count.c"
    _run(["gcc", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", str(source), "-o", str(library)])


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
        done = process.run(words, seconds=_SECONDS)
    except process.TimeLimitError as error:
        raise InputError(f"{Path(words[0]).name}: {error}; look at the network") from error
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines() or ["no word why"]
        raise InputError(f"{Path(words[0]).name}: failed ({last[-1]}); mend that and call again")


if __name__ == "__main__":
    try:
        set_up(Path(sys.argv[1]))
    except InputError as error:
        click.echo(f"arm64: {error}", err=True)
        sys.exit(2)
