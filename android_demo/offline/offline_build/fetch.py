"""Gets what the build needs: pinned by version and hash, kept outside the repository."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import tempfile
from collections.abc import Collection
from pathlib import Path

from offline_build.errors import OFFLINE, BuildError
from offline_build.run import run

LISTING = OFFLINE / "dependencies.sha256"
NPM_PACKAGE = "nativescript@8.9.3"  # for the D8 and R8 in its bundletool
BUNDLETOOL = "bundletool.jar"
ROBOLECTRIC = "robolectric"
_IN_PACKAGE = "package/vendor/aab-tool/bundletool.jar"
PROGRAMS = {
    "aapt2": "aapt",
    "aapt": "aapt",
    "zipalign": "zipalign",
    "apksigner": "apksigner",
    "mvn": "maven",
    "npm": "npm",
    "javac": "default-jdk-headless",
}
FRAMEWORK = Path("/usr/share/android-framework-res/framework-res.apk")
FRAMEWORK_PACKAGE = "android-framework-res"


def cache() -> Path:
    """Returns the folder of downloads.

    What is downloaded names it, so that a file that an older list brought cannot stand in for one
    that today's list does not bring.
    """
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    asked = hashlib.sha256(NPM_PACKAGE.encode())
    for path in (LISTING, *sorted(OFFLINE.glob("**/pom.xml"))):
        asked.update(path.read_bytes())
    return Path(root) / "bokeh-tflite" / "android" / asked.hexdigest()[:12]


def expected_hashes(listing: Path = LISTING) -> dict[str, str]:
    """Reads a list as `sha256sum` writes it: name to hash."""
    pairs = (line.split() for line in listing.read_text(encoding="utf-8").splitlines() if line)
    return {name: digest for digest, name in pairs}


def fetch(folder: Path) -> None:
    """Downloads what is missing, and checks all of it.

    Raises:
        BuildError: If a download fails or has another hash than is pinned; the file is removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _unfinished(folder).unlink(missing_ok=True)
    wanted = expected_hashes()
    _download(folder, [name for name in wanted if not (folder / name).exists()])
    check_hashes(folder, wanted)
    _unpack_bundletool(folder)


def _download(folder: Path, missing: Collection[str]) -> None:
    if any(name.endswith(".tgz") for name in missing):
        run("npm pack", ["npm", "pack", "--silent", NPM_PACKAGE], folder=folder)
    # Not the user's own Maven repository: what lies there hides what the poms do not ask for.
    with tempfile.TemporaryDirectory() as repository:
        for inside, pom, goal in (
            ("", "pom.xml", "dependency:copy"),
            (ROBOLECTRIC, f"{ROBOLECTRIC}/pom.xml", "dependency:copy-dependencies"),
        ):
            if any(str(Path(name).parent) == (inside or ".") for name in missing):
                to = [f"-DoutputDirectory={folder / inside}", f"-Dmaven.repo.local={repository}"]
                run(f"mvn {goal}", ["mvn", "-q", "-B", "-f", OFFLINE / pom, goal, *to])


def check_hashes(folder: Path, wanted: dict[str, str]) -> None:
    """Holds each file against its hash, and the folder against the list.

    Raises:
        BuildError: If a file is missing, differs or is not listed; a file that differs is removed.
    """
    there = {str(path.relative_to(folder)) for path in folder.glob("**/*") if path.is_file()}
    for name in sorted(there - set(wanted) - {BUNDLETOOL}):
        raise BuildError(f"{folder / name}: is not in {LISTING.name}; add its hash, or remove it")
    for name, digest in wanted.items():
        path = folder / name
        if not path.is_file():
            raise BuildError(
                f"{path}: no pom.xml downloads it; remove it from {LISTING.name}, or add it to one"
            )
        found = sha256(path)
        if found != digest:
            path.unlink()
            raise BuildError(f"{path}: has the hash {found}, not the pinned {digest}; removed")


def sha256(path: Path) -> str:
    """Returns the hash of a file, in hex."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def install_programs() -> None:
    """Installs what is missing of Debian's programs.

    Raises:
        BuildError: If something is missing and this is not root.
    """
    packages = {package for program, package in PROGRAMS.items() if not shutil.which(program)}
    if not FRAMEWORK.exists():
        packages.add(FRAMEWORK_PACKAGE)
    if not packages:
        return
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *sorted(packages)]
    if os.geteuid() != 0:
        raise BuildError(f"{', '.join(sorted(packages))}: not installed; sudo {' '.join(install)}")
    run("apt-get update", ["apt-get", "update"])
    run("apt-get install", install)


def _unfinished(folder: Path) -> Path:
    return folder / f"{BUNDLETOOL}.part"


def _unpack_bundletool(folder: Path) -> None:
    # Always: one of another package may be there.
    target = folder / BUNDLETOOL
    package = folder / f"{NPM_PACKAGE.replace('@', '-')}.tgz"
    with tarfile.open(package) as archive:
        source = archive.extractfile(_IN_PACKAGE)
        if source is None:
            raise BuildError(f"{package}: holds no {_IN_PACKAGE}")
        whole = _unfinished(folder)
        whole.write_bytes(source.read())
        whole.rename(target)
