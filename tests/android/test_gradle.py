"""Gradle itself cannot be run here; what can be checked of its files is."""

from __future__ import annotations

import re
import sys

import pytest

import bokeh_runtime
from helpers.skips import ELSEWHERE
from offline_build import package
from offline_build.errors import ANDROID, OFFLINE

APP = (ANDROID / "app/build.gradle.kts").read_text(encoding="utf-8")


def versions() -> dict[str, str]:
    if sys.version_info < (3, 11):
        pytest.skip(f"{ELSEWHERE}Python 3.11 reads TOML")
    import tomllib

    catalog = tomllib.loads((ANDROID / "gradle/libs.versions.toml").read_text(encoding="utf-8"))
    found = {
        library["module"].partition(":")[2]: catalog["versions"][library["version"]["ref"]]
        for library in catalog["libraries"].values()
    }
    return {**found, "kotlin-stdlib": catalog["versions"]["kotlin"]}


def test_gradle_takes_the_versions_of_the_offline_build() -> None:
    poms = [path.read_text(encoding="utf-8") for path in OFFLINE.glob("**/pom.xml")]
    pinned = dict(
        re.findall(r"<artifactId>([\w-]+)</artifactId>\s*<version>([^<]+)<", "".join(poms))
    )
    for name, version in versions().items():
        if name != "junit-jupiter":  # its console, of the platform's version, is there instead
            assert pinned[name] == version, name
    platform = pinned["junit-platform-console-standalone"]
    assert versions()["junit-jupiter"].partition(".")[2] == platform.partition(".")[2]


def test_gradle_makes_the_app_of_the_offline_build() -> None:
    for name, value in (
        ("minSdk", package.MIN_SDK),
        ("targetSdk", package.TARGET_SDK),
        ("versionCode", package.VERSION_CODE),
        ("versionName", f'"{package.VERSION_NAME}"'),
    ):
        assert f"{name} = {value}\n" in APP
    manifest = (ANDROID / "app/src/main/AndroidManifest.xml").read_text(encoding="utf-8")
    (namespace,) = re.findall(r'namespace = "([^"]+)"', APP)
    assert f'package="{namespace}"' in manifest


def test_only_two_repositories_are_asked() -> None:
    settings = (ANDROID / "settings.gradle.kts").read_text(encoding="utf-8")
    asked = re.findall(r"^\s+(\w+)\(\)$", settings, re.MULTILINE)
    assert set(asked) == {"google", "mavenCentral"}


def test_every_alias_is_in_the_catalog() -> None:
    catalog = (ANDROID / "gradle/libs.versions.toml").read_text(encoding="utf-8")
    names = set(re.findall(r"^([\w-]+) = \{", catalog, re.MULTILINE))
    for path in (*ANDROID.glob("*.kts"), *ANDROID.glob("*/*.kts")):
        for alias in re.findall(r"libs\.(?:plugins\.)?([\w.]+)\)", path.read_text("utf-8")):
            assert alias.replace(".", "-") in names, (path, alias)


def test_every_folder_that_gradle_names_is_there() -> None:
    settings = (ANDROID / "settings.gradle.kts").read_text(encoding="utf-8")
    for module in re.findall(r'":(\w+)"', settings):
        assert (ANDROID / module / "src/main/kotlin").is_dir()


def test_the_apps_version_is_the_distributions() -> None:
    assert bokeh_runtime.__version__ == package.VERSION_NAME
