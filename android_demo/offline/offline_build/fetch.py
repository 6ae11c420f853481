"""Gets what the build needs: pinned by version and hash, kept outside the repository."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
from pathlib import Path

from bokeh_runtime.staging import Staging
from offline_build.errors import OFFLINE, BuildError
from offline_build.run import run

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
    """Returns the folder of downloads."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "bokeh-tflite" / "android"


def expected_hashes(listing: Path = OFFLINE / "dependencies.sha256") -> dict[str, str]:
    """Reads a list as `sha256sum` writes it: name to hash."""
    pairs = (line.split() for line in listing.read_text(encoding="utf-8").splitlines() if line)
    return {name: digest for digest, name in pairs}


def fetch(folder: Path) -> None:
    """Downloads what is missing, and checks all of it.

    Raises:
        BuildError: If a download fails or has another hash than is pinned; the file is removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wanted = expected_hashes()
    missing = [name for name in wanted if not (folder / name).exists()]
    if any(name.endswith(".tgz") for name in missing):
        run("npm pack", ["npm", "pack", "--silent", NPM_PACKAGE], folder=folder)
    for inside, pom, goal in (
        ("", "pom.xml", "dependency:copy"),
        (ROBOLECTRIC, f"{ROBOLECTRIC}/pom.xml", "dependency:copy-dependencies"),
    ):
        if any(str(Path(name).parent) == (inside or ".") for name in missing):
            to = f"-DoutputDirectory={folder / inside}"
            run(f"mvn {goal}", ["mvn", "-q", "-B", "-f", OFFLINE / pom, goal, to])
    check_hashes(folder, wanted)
    _unpack_bundletool(folder)


def check_hashes(folder: Path, wanted: dict[str, str]) -> None:
    """Holds each file against its hash.

    Raises:
        BuildError: If one is missing or differs; the wrong one is removed.
    """
    for name, digest in wanted.items():
        path = folder / name
        if not path.is_file():
            raise BuildError(f"{path}: was not downloaded; call again")
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


def _unpack_bundletool(folder: Path) -> None:
    # Always: one of another version may be there.
    target = folder / BUNDLETOOL
    package = folder / f"{NPM_PACKAGE.replace('@', '-')}.tgz"
    with tarfile.open(package) as archive:
        source = archive.extractfile(_IN_PACKAGE)
        if source is None:
            raise BuildError(f"{package}: holds no {_IN_PACKAGE}")
        with Staging(folder) as staging:
            staging.path(target.name).write_bytes(source.read())
            staging.commit()
