"""The command: fetch, compile, test, package, sign, verify."""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from bokeh_runtime.atomic_output import AtomicOutput
from bokeh_runtime.errors import InputError
from offline_build import assets, fetch, kotlin, package, verify
from offline_build.errors import ANDROID, REPOSITORY, BuildError
from offline_build.min_sdk import Library, too_new
from offline_build.run import run
from offline_build.screens import test_screens

APK = "bokeh-demo.apk"
LIBRARIES = (
    "tensorflow-lite", "tensorflow-lite-api", "tensorflow-lite-gpu", "tensorflow-lite-gpu-api",
)  # fmt: skip
_NEWEST, _OLDEST = "android-all-15-robolectric", "android-all-10-robolectric"


def build(output: Path, *, models: Path | None = None, fresh: bool = False) -> Path:
    """Builds the app and returns the APK.

    Args:
        output: Folder for the APK, its report and what the build makes on the way.
        models: Output folder of `bokeh-convert`, whose files the app carries; None for the models
            that ship with the runtime. The app's tests run with those in either case.
        fresh: Download everything again.

    Raises:
        BuildError: If anything is not as it should be.
    """
    if sys.platform != "linux":
        raise BuildError(
            "this build uses Debian's programs and runs on Linux alone; elsewhere, open "
            "android_demo/ in Android Studio"
        )
    bundle = assets.shipped() if models is None else assets.converted(models)
    work = output / "work"
    work.mkdir(parents=True, exist_ok=True)
    downloads = fetch.cache()
    with _step("downloads"):
        fetch.install_programs()
        if fresh:
            shutil.rmtree(downloads, ignore_errors=True)
        fetch.fetch(downloads)
    with _step("assets"):
        assets.shipped().write(work / "assets")
    with _step("core"):
        core, passed = _core(downloads, work)
    with _step("app"):
        resources, java = package.link_resources(ANDROID / "app/src/main", work)
        package.compile_java(java, work / "r_classes")
        aars = package.aar_classes(downloads, LIBRARIES, work)
        newest = kotlin.one(downloads, _NEWEST)
        stdlib = kotlin.one(downloads, "kotlin-stdlib")
        kotlin.compile_kotlin(
            "app",
            downloads,
            [ANDROID / "app/src/main/kotlin"],
            [stdlib, core, work / "r_classes", *aars, newest],
            work / "app",
            options=kotlin.FOR_ANDROID,
        )
    with _step("screens"):
        passed += test_screens(downloads, work, resources, aars, output / "screens")
    with _step("calls above the oldest Android"):
        oldest = kotlin.one(downloads, _OLDEST)
        library = Library(oldest)
        newer = [line for folder in (core, work / "app") for line in too_new(folder, library)]
        if newer:
            listed = "\n".join(newer)
            raise BuildError(f"Android {package.MIN_SDK} (API) does not have:\n{listed}")
    with _step("dex"):
        inputs = [core, work / "app", work / "r_classes", *aars, stdlib]
        rules = ANDROID / "app/proguard-rules.pro"
        package.to_dex(downloads, oldest, inputs, rules, work / "dex")
    with _step("package"):
        hashes = bundle.write(work / "assets")
        apk = work / APK
        package.assemble(resources, work / "dex", work / "assets", downloads, LIBRARIES, apk)
        package.sign(apk, output / "debug.keystore")
    with _step("verify"):
        contents = verify.look(apk)
        verify.check(contents, hashes, verify.allowed_permissions())
    report = {**asdict(contents), "assets": hashes, "tests_passed": passed}
    _keep(output, apk, report)
    said = f"tests        {passed} passed\napk          {output / APK}"
    sys.stdout.write(f"{verify.table(contents)}\n{said}\n")
    return output / APK


def _keep(output: Path, apk: Path, report: dict[str, object]) -> None:
    with AtomicOutput(output) as staging:  # a build that ends early leaves the last good one
        shutil.copyfile(apk, staging.path(APK))
        text = json.dumps(report, indent=1)
        staging.path("report.json").write_text(text, encoding="utf-8")
        staging.commit()


def _core(downloads: Path, work: Path) -> tuple[Path, int]:
    """Compiles and tests the core; returns its classes and how many tests passed."""
    source = ANDROID / "core/src"
    core, tests = work / "core", work / "core_test"
    newest = kotlin.one(downloads, _NEWEST)
    stdlib, org_json = (kotlin.one(downloads, name) for name in ("kotlin-stdlib", "json"))
    junit = kotlin.one(downloads, "junit-platform-console-standalone")
    main = [source / "main/kotlin"]
    # Android's own org.json, which lacks some of what the library's later versions have.
    kotlin.compile_kotlin(
        "core", downloads, main, [stdlib, newest], core, options=kotlin.FOR_ANDROID
    )
    kotlin.compile_kotlin(
        "core's tests", downloads, [source / "test/kotlin"], [stdlib, core, org_json, junit], tests,
        options=[*kotlin.FOR_TESTS, f"-Xfriend-paths={core}"],
    )  # fmt: skip
    golden = work / "golden"
    run("golden.py", [sys.executable, ANDROID / "golden.py", golden])
    properties = {
        "bokeh.repository": str(REPOSITORY),
        "bokeh.golden": str(golden),
        "bokeh.assets": str(work / "assets"),
    }
    classpath = [core, stdlib, org_json]
    passed = kotlin.run_tests(downloads, tests, classpath, properties)
    return core, passed + _real_interpreter(downloads, work, source, properties)


def _real_interpreter(downloads: Path, work: Path, source: Path, properties: dict[str, str]) -> int:
    """Runs the tests on LiteRT's library, where a JDK has the foreign-function interface."""
    java = kotlin.newer_java()
    spec = importlib.util.find_spec("ai_edge_litert")
    if java is None or spec is None or not spec.submodule_search_locations:
        why = "no JDK 22 or later" if java is None else "LiteRT is not installed"
        sys.stderr.write(f"  tests on a real interpreter are left out: {why}\n")
        return 0
    core, tests, real = work / "core", work / "core_test", work / "core_jdk22"
    stdlib, org_json = (kotlin.one(downloads, name) for name in ("kotlin-stdlib", "json"))
    junit = kotlin.one(downloads, "junit-platform-console-standalone")
    kotlin.compile_kotlin(
        "core's tests on a real interpreter",
        downloads,
        [source / "jdk22Test/kotlin"],
        [stdlib, core, tests, org_json, junit],
        real,
        options=[
            *(*kotlin.FOR_TESTS, "-jdk-home", str(java.parents[1])),
            f"-Xfriend-paths={core},{tests}",
        ],
    )
    library = Path(spec.submodule_search_locations[0]) / "libLiteRt.so"
    return kotlin.run_tests(
        downloads,
        real,
        [core, tests, stdlib, org_json],
        {**properties, "bokeh.litert": str(library)},
        java=java,
        options=["--enable-native-access=ALL-UNNAMED"],
    )


@contextmanager
def _step(name: str) -> Iterator[None]:
    start = time.monotonic()
    sys.stderr.write(f"{name} ...\n")
    yield
    sys.stderr.write(f"{name}: {time.monotonic() - start:.0f} s\n")


def main() -> None:
    """Builds, or tells in a line why not."""
    parser = argparse.ArgumentParser(prog="offline_build", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("build/android"))
    parser.add_argument("--models", type=Path, help="output folder of bokeh-convert")
    parser.add_argument("--fresh", action="store_true", help="download everything again")
    asked = parser.parse_args()
    try:
        build(asked.output.resolve(), models=asked.models, fresh=asked.fresh)
    except (BuildError, InputError) as error:
        sys.stderr.write(f"offline_build: {error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
