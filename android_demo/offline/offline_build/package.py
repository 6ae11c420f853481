"""From classes, resources, natives and assets to a signed APK."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path

from offline_build.fetch import BUNDLETOOL, FRAMEWORK
from offline_build.kotlin import one
from offline_build.run import run

MIN_SDK, TARGET_SDK = 29, 35
VERSION_CODE, VERSION_NAME = 2, "0.2.0"
ABIS = ("arm64-v8a", "armeabi-v7a", "x86", "x86_64")
TABLE = "resources.arsc"
_TIME = (2026, 1, 1, 0, 0, 0)  # the same bytes from the same sources
_PASSWORD = "android"  # as every debug key's: it proves nothing
_ALIAS = "debug"
_MODULES = ("java.base/", "java.logging/")  # that the libraries use


def link_resources(app: Path, work: Path) -> tuple[Path, Path]:
    """Compiles resources and manifest; returns the APK without code and the folder of R.java.

    Raises:
        BuildError: If aapt2 refuses.
    """
    compiled, linked, java = work / "resources.zip", work / "resources.apk", work / "r"
    shutil.rmtree(java, ignore_errors=True)
    java.mkdir(parents=True)
    run("aapt2 compile", ["aapt2", "compile", "--dir", app / "res", "-o", compiled])
    run(
        "aapt2 link",
        [
            *("aapt2", "link", "-I", FRAMEWORK, "--manifest", app / "AndroidManifest.xml"),
            *("--java", java, "-o", linked, "--auto-add-overlay", "--warn-manifest-validation"),
            *("--min-sdk-version", str(MIN_SDK), "--target-sdk-version", str(TARGET_SDK)),
            *("--version-code", str(VERSION_CODE), "--version-name", VERSION_NAME),
            compiled,
        ],
    )
    return linked, java


def compile_java(sources: Path, output: Path) -> None:
    """Compiles R.java.

    Raises:
        BuildError: If it does not compile.
    """
    shutil.rmtree(output, ignore_errors=True)
    files = [str(path) for path in sorted(sources.rglob("*.java"))]
    run("compiling R", ["javac", "--release", "17", "-d", str(output), *files])


def to_dex(
    downloads: Path, android: Path, inputs: Sequence[Path], rules: Path, output: Path
) -> None:
    """Shrinks and converts classes with R8.

    Args:
        downloads: Where R8 is.
        android: The oldest Android's own classes (this R8 cannot read the newest's records).
        inputs: Jars and folders of classes.
        rules: What to keep.
        output: Folder for classes.dex.

    Raises:
        BuildError: If R8 refuses.
    """
    work = output.with_name("dex_inputs")
    for folder in (work, output):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    jars = [_jar(path, work) if path.is_dir() else path for path in inputs]
    run(
        "R8",
        [
            *("java", "-Xmx3g", "-cp", downloads / BUNDLETOOL, "com.android.tools.r8.R8"),
            *("--release", "--min-api", str(MIN_SDK), "--pg-conf", rules),
            *("--lib", android, "--lib", _java_8(work)),
            *("--output", output, *jars),
        ],
    )


def aar_classes(downloads: Path, names: Sequence[str], work: Path) -> list[Path]:
    """Unpacks the classes of Android libraries."""
    jars = []
    for name in names:
        jar = work / f"{name}.jar"
        with zipfile.ZipFile(one(downloads, name, "aar")) as archive:
            jar.write_bytes(archive.read("classes.jar"))
        jars.append(jar)
    return jars


def assemble(
    resources: Path, dex: Path, assets: Path, downloads: Path, libraries: Sequence[str], apk: Path
) -> None:
    """Puts everything into an APK, aligned and not yet signed."""
    unaligned = apk.with_suffix(".unaligned")
    with (
        zipfile.ZipFile(resources) as source,
        zipfile.ZipFile(unaligned, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for entry in source.infolist():
            # Android 11 and later map the table, and refuse to install a compressed one.
            kind = zipfile.ZIP_STORED if entry.filename == TABLE else entry.compress_type
            _add(target, entry.filename, source.read(entry), kind)
        for path in sorted(dex.glob("*.dex")):
            _add(target, path.name, path.read_bytes(), zipfile.ZIP_DEFLATED)
        for path in sorted(assets.rglob("*")):
            if path.is_file():
                # A model is mapped from the APK, so it must lie there as it is.
                stored = path.suffix == ".tflite"
                kind = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
                _add(target, f"assets/{path.relative_to(assets)}", path.read_bytes(), kind)
        for library in libraries:
            with zipfile.ZipFile(one(downloads, library, "aar")) as archive:
                for name in archive.namelist():
                    if name.startswith("jni/") and name.endswith(".so"):
                        native = name.replace("jni/", "lib/", 1)
                        _add(target, native, archive.read(name), zipfile.ZIP_STORED)
    run("zipalign", ["zipalign", "-f", "-p", "4", unaligned, apk])
    unaligned.unlink()


def sign(apk: Path, key: Path) -> None:
    """Signs an APK with a debug key, made if missing and kept so that updates install.

    Raises:
        BuildError: If signing fails.
    """
    if not key.exists():
        run(
            "keytool",
            [
                *("keytool", "-genkeypair", "-keystore", key, "-alias", _ALIAS, "-keyalg", "RSA"),
                *("-keysize", "2048", "-validity", "10000", "-storepass", _PASSWORD),
                *("-keypass", _PASSWORD, "-dname", "CN=Debug"),
            ],
        )
    password = f"pass:{_PASSWORD}"
    run(
        "apksigner",
        ["apksigner", "sign", "--ks", key, "--ks-key-alias", _ALIAS, "--ks-pass", password, apk],
    )
    Path(f"{apk}.idsig").unlink(missing_ok=True)


def _java_8(output: Path) -> Path:
    """Writes Java 8's library as a jar, from the signatures that a JDK keeps for `--release 8`.

    Android's jar leaves Java's library out, and this R8 cannot read a later JDK's own.
    """
    java = shutil.which("javac")
    assert java is not None  # installed by `fetch.install_programs`
    signatures = Path(java).resolve().parents[1] / "lib" / "ct.sym"
    jar = output / "java8.jar"
    with zipfile.ZipFile(signatures) as source, zipfile.ZipFile(jar, "w") as target:
        for name in source.namelist():
            # RELEASES/MODULE/PACKAGE/Class.sig; a letter or digit of RELEASES for each release.
            releases, _, rest = name.partition("/")
            if "8" in releases and rest.startswith(_MODULES) and name.endswith(".sig"):
                target.writestr(f"{rest.partition('/')[2][:-4]}.class", source.read(name))
    return jar


def _add(target: zipfile.ZipFile, name: str, content: bytes, kind: int) -> None:
    entry = zipfile.ZipInfo(name, _TIME)
    entry.compress_type = kind
    target.writestr(entry, content)


def _jar(folder: Path, output: Path) -> Path:
    jar = output / f"{folder.name}.jar"
    with zipfile.ZipFile(jar, "w") as archive:
        for path in sorted(folder.rglob("*.class")):
            archive.write(path, os.fspath(path.relative_to(folder)))
    return jar
