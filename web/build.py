"""Builds the web pages: LiteRT.js from npm by pinned version and hash, checked types, one folder.

    python web/build.py [--output build/web]

The output is a Python package, `bokeh_tflite_web`, and its wheel: the base package is small, and
LiteRT.js is 38 MB of wasm. Without `--wheel` the wheel is left out.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

WEB = Path(__file__).resolve().parent
ROOT = WEB.parent
OUTPUT = ROOT / "build/web"
PACKAGE = "bokeh_tflite_web"
MODULES = WEB / "node_modules"
_BARE_IMPORT = '"@litertjs/wasm-utils"'


def main() -> int:
    """Builds; returns the exit code."""
    parser = argparse.ArgumentParser(description="Builds the web pages.")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--wheel", action="store_true", help="Also build the wheel.")
    given = parser.parse_args()
    npm = shutil.which("npm")
    if npm is None:
        print("web: npm is missing; install Node.js 18 or later", file=sys.stderr)
        return 2
    try:
        install(npm)
        subprocess.run([npm, "run", "--silent", "check"], cwd=WEB, check=True)
        subprocess.run(
            [npm, "run", "--silent", "test"], cwd=WEB, check=True, stdout=subprocess.DEVNULL
        )
        folder = assemble(given.output)
        if given.wheel:
            build_wheel(given.output)
    except subprocess.CalledProcessError as error:
        print(f"web: {error.cmd} failed with exit code {error.returncode}", file=sys.stderr)
        return 1
    print(f"web: {folder}", file=sys.stderr)
    return 0


def install(npm: str) -> None:
    """Installs what package-lock.json says, unless it is installed; npm checks the hashes."""
    lock = hashlib.sha256((WEB / "package-lock.json").read_bytes()).hexdigest()
    done = MODULES / "lock.sha256"
    if not done.exists() or done.read_text(encoding="utf-8") != lock:
        options = ["--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
        subprocess.run([npm, "ci", *options], cwd=WEB, check=True)
        done.write_text(lock, encoding="utf-8")


def assemble(output: Path) -> Path:
    """Writes the package's folder anew and returns it."""
    sys.path.insert(0, str(ROOT / "runtime"))
    from bokeh_runtime.version import __version__

    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output) as name:
        new = Path(name) / PACKAGE
        shutil.copytree(WEB / "site", new / "site")
        copy_litert(new / "site/litert")
        (new / "__init__.py").write_text(
            '"""The web pages of bokeh-tflite, with LiteRT.js."""\n', encoding="utf-8"
        )
        about = {"version": __version__, "litert": litert_version(), "sources": sources_digest()}
        (new / "about.json").write_text(json.dumps(about), encoding="utf-8")
        folder = output / PACKAGE
        if folder.exists():
            folder.rename(Path(name) / "old")
        new.rename(folder)
    return folder


def copy_litert(folder: Path) -> None:
    """Copies LiteRT.js and its licence.

    There are no import maps in a worker, so its one bare import is made relative.
    """
    core = MODULES / "@litertjs/core"
    folder.mkdir()
    code = (core / "dist/index.js").read_text(encoding="utf-8")
    if _BARE_IMPORT not in code:
        raise SystemExit("web: LiteRT.js imports its helpers in another way; adapt web/build.py")
    code = code.replace(_BARE_IMPORT, '"./wasm-utils.js"')
    (folder / "litert.js").write_text(_without_map(code), encoding="utf-8")
    helpers = (MODULES / "@litertjs/wasm-utils/dist/index.js").read_text(encoding="utf-8")
    (folder / "wasm-utils.js").write_text(_without_map(helpers), encoding="utf-8")
    (folder / "wasm").mkdir()
    for path in sorted((core / "wasm").iterdir()):
        shutil.copyfile(path, folder / "wasm" / path.name)
    (folder / "NOTICE").write_text(
        f"LiteRT.js {litert_version()} (@litertjs/core and wasm-utils), Apache-2.0: LICENSE.\n"
        "Copyright Google LLC. Changed: the import of wasm-utils is relative; no source maps.\n",
        encoding="utf-8",
    )
    shutil.copyfile(ROOT / "LICENSE", folder / "LICENSE")


def litert_version() -> str:
    """Returns the version of LiteRT.js that is installed."""
    about = json.loads((MODULES / "@litertjs/core/package.json").read_text(encoding="utf-8"))
    return str(about["version"])


def sources_digest() -> str:
    """Returns a hash of the pages' sources, by which an old build is noticed."""
    digest = hashlib.sha256()
    for path in sorted((WEB / "site").rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(WEB).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def build_wheel(output: Path) -> None:
    """Builds the wheel beside the package's folder, in place of older ones."""
    for older in output.glob("*.whl"):
        older.unlink()
    shutil.copyfile(WEB / "wheel.toml", output / "pyproject.toml")
    command = ["-m", "build", "--wheel", "--no-isolation", "--outdir", str(output), str(output)]
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)


def _without_map(code: str) -> str:
    return code.partition("//# sourceMappingURL")[0]


if __name__ == "__main__":
    sys.exit(main())
