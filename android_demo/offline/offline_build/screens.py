"""Starts the app's screens on a JVM, with Robolectric, and draws them."""

from __future__ import annotations

import os
import re
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path

from offline_build import kotlin
from offline_build.errors import ANDROID, REPOSITORY, BuildError
from offline_build.fetch import ROBOLECTRIC, expected_hashes
from offline_build.run import run

_APP = ANDROID / "app/src"
_TEST = "io.github.bokehtflite.MainActivityTest"
_OPENED = ("java.io", "java.lang", "java.nio", "java.util")  # Robolectric reaches into them
_FOUND = re.compile(r"OK \((\d+) tests?\)")
_NEWEST, _INSTRUMENTED = "android-all-15-robolectric", "android-all-instrumented"


def test_screens(
    downloads: Path, work: Path, resources: Path, aars: Sequence[Path], pictures: Path
) -> int:
    """Runs the app's tests and returns how many passed.

    Args:
        downloads: Where Robolectric and the compiler are.
        work: Holds the classes of `core`, `app` and R.
        resources: The APK without code.
        aars: Classes of the interpreter.
        pictures: Folder for the screens, as PNG.

    Raises:
        BuildError: If one fails.
    """
    newest = kotlin.one(downloads, _NEWEST)
    stdlib = kotlin.one(downloads, "kotlin-stdlib")
    jars = [
        downloads / name
        for name in sorted(expected_hashes())
        if name.startswith(f"{ROBOLECTRIC}/") and f"/{_INSTRUMENTED}" not in name
    ]
    stubs, tests, config = work / "stubs", work / "app_test", work / "app_test_config"
    _compile_stubs(stubs, newest)
    app = [work / "app", work / "core", work / "r_classes", *aars, stdlib]
    kotlin.compile_kotlin(
        "the app's tests", downloads, [_APP / "test/kotlin"], [*app, *jars, newest, stubs], tests,
        options=[*kotlin.FOR_TESTS, f"-Xfriend-paths={work / 'app'}"],
    )  # fmt: skip
    _write_config(config, _with_assets(resources, work / "assets", work / "screens.apk"))
    shutil.rmtree(pictures, ignore_errors=True)
    path = [config, tests, *jars, stubs, *app, newest]
    opened = [f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in _OPENED]
    said = run(
        "testing the app",
        [
            *("java", *opened, "-Drobolectric.offline=true"),
            f"-Drobolectric.dependency.dir={downloads / ROBOLECTRIC}",
            f"-Dbokeh.screens={pictures}",
            f"-Dbokeh.photo={REPOSITORY / 'convert/bokeh_convert/photos/verification/coffee.jpg'}",
            *("-cp", os.pathsep.join(map(str, path)), "org.junit.runner.JUnitCore", _TEST),
        ],
    )
    passed = _FOUND.search(said)
    if passed is None:
        raise BuildError(f"testing the app: no test ran:\n{said[-2000:]}")
    return int(passed[1])


def _compile_stubs(output: Path, android: Path) -> None:
    shutil.rmtree(output, ignore_errors=True)
    sources = sorted((_APP / "testStubs/java").rglob("*.java"))
    run("compiling the stubs", ["javac", "-nowarn", "-d", output, "-cp", android, *sources])


def _with_assets(resources: Path, assets: Path, apk: Path) -> Path:
    """Adds the assets, which Robolectric looks for in the APK of the resources."""
    shutil.copyfile(resources, apk)
    with zipfile.ZipFile(apk, "a") as archive:
        for path in sorted(assets.rglob("*")):
            if path.is_file():
                archive.write(path, f"assets/{path.relative_to(assets)}")
    return apk


def _write_config(folder: Path, apk: Path) -> None:
    """Tells Robolectric where the app is, as Android's build tools do."""
    path = folder / "com/android/tools/test_config.properties"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"android_merged_manifest={_APP / 'main/AndroidManifest.xml'}\n"
        f"android_resource_apk={apk}\n"
        "android_custom_package=io.github.bokehtflite\n",
        encoding="utf-8",
    )
