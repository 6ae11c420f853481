"""Installs and builds what tests drive: adb, browsers, pages, Vulkan, ARM kernels, the app.

`python tests/environment.py` does what this machine allows: as root it installs Debian packages,
without root it builds with the programs that are there. What cannot be had is named; the tests that
need it are skipped. `--summary FILE` then says in a line which tests were skipped and how to run
them. With BOKEH_TESTS_REQUIRE_ALL=1 the app is downloaded and built anew, and anything that cannot
be had is an error.
"""

from __future__ import annotations

import ctypes.util
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bokeh_bench.devices.arm64.environment import PROGRAMS as ARM64_PROGRAMS
from offline_build.fetch import FRAMEWORK, FRAMEWORK_PACKAGE
from offline_build.fetch import PROGRAMS as ANDROID_PROGRAMS

ROOT = Path(__file__).resolve().parents[1]
REQUIRE_ALL = bool(os.environ.get("BOKEH_TESTS_REQUIRE_ALL"))
APP = ROOT / "build/android"
# What `make android` reads; the report is written last.
APP_SOURCES = ("android_demo", "runtime/bokeh_runtime", "constraints.txt")


@dataclass(frozen=True)
class Need:
    """Something that some tests drive.

    Attributes:
        name: What it is, for messages.
        packages: Debian package of each program, file or library that must be there.
        build: Command that makes the rest, if there is any.
    """

    name: str
    packages: Mapping[str, str]
    build: Sequence[str] = ()

    def missing(self) -> list[str]:
        """Returns the Debian packages that are not installed."""
        return [package for what, package in self.packages.items() if not _is_here(what)]


NEEDS = (
    Need("a C compiler", {"cc": "gcc"}),
    Need("adb", {"adb": "adb"}),
    Need("a browser", {"chromium": "chromium"}),
    Need("another browser", {"firefox-esr": "firefox-esr"}),
    Need("the web pages", {"node": "nodejs", "npm": "npm"}, ("web/build.py",)),
    Need(
        "a Vulkan device in software",
        {
            "/usr/lib/chromium/vk_swiftshader_icd.json": "chromium-common",
            "libvulkan.so.1": "libvulkan1",
        },
    ),
    Need(
        "ARM kernels under QEMU",
        ARM64_PROGRAMS,
        ("-m", "bokeh_bench.devices.arm64.environment", "build/arm64"),
    ),
    Need(
        "the Android app",
        {**ANDROID_PROGRAMS, str(FRAMEWORK): FRAMEWORK_PACKAGE},
        ("-m", "offline_build", "--output", str(APP), *(["--fresh"] if REQUIRE_ALL else [])),
    ),
)


def main() -> int:
    """Installs and builds; returns the exit code."""
    packages = sorted({package for need in NEEDS for package in need.missing()})
    if packages and os.geteuid() == 0 and shutil.which("apt-get"):
        _say(f"installing {', '.join(packages)}")
        _install(packages)
    faults = []
    for need in NEEDS:
        missing = need.missing()
        if missing:
            faults.append(f"{need.name}: needs the Debian packages {', '.join(missing)}")
        elif need.build and not _is_current(need):
            _say(f"building {need.name}")
            done = subprocess.run([sys.executable, *need.build], check=False, cwd=ROOT)
            if done.returncode:
                return done.returncode  # a build with all that it needs is a test itself
    for fault in faults:
        _say(f"tests are skipped: {fault}")
    return 1 if faults and REQUIRE_ALL else 0


def summary(log: Path) -> str:
    """Returns a line that says what was skipped, "" if nothing was.

    Args:
        log: One reason a line, as conftest.py writes them.
    """
    reasons = Counter(log.read_text(encoding="utf-8").splitlines()) if log.exists() else Counter()
    if not reasons:
        return ""
    listed = "; ".join(f"{count} x {reason}" for reason, count in sorted(reasons.items()))
    line = f"{reasons.total()} tests were skipped ({listed})."
    packages = sorted({package for need in NEEDS for package in need.missing()})
    if packages:
        line += f" To run them: sudo apt-get install {' '.join(packages)}; then make test again."
    return line


def _is_here(what: str) -> bool:
    if what.startswith("/"):
        return Path(what).exists()
    if ".so" in what:
        name = what.removeprefix("lib").partition(".so")[0]
        return ctypes.util.find_library(name) is not None
    # Debian puts programs for root where a user's PATH does not look.
    return shutil.which(what, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin") is not None


def _install(packages: Iterable[str]) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages],
    ):
        done = subprocess.run(command, check=False, env=environment, stdout=subprocess.DEVNULL)
        if done.returncode:
            _say(f"{' '.join(command[:2])} failed with exit code {done.returncode}")
            return


def _is_current(need: Need) -> bool:
    """Says whether the app is newer than its sources; the other build looks by itself."""
    report = APP / "report.json"
    if str(APP) not in need.build or REQUIRE_ALL or not report.exists():
        return False
    sources = (path for name in APP_SOURCES for path in [ROOT / name, *(ROOT / name).rglob("*")])
    newest = max(path.stat().st_mtime for path in sources if "__pycache__" not in path.parts)
    return report.stat().st_mtime > newest


def _say(what: str) -> None:
    print(f"test environment: {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--summary"]:
        print(summary(Path(sys.argv[2])))
    else:
        sys.exit(main())
