"""Real browsers for the tests of the web pages, and `bokeh-bench` beside them."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bokeh_runtime.errors import InputError
from bokeh_runtime.web.pages import find_pages

if TYPE_CHECKING:
    from playwright.sync_api import Browser

DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
QUIET = ("--no-sandbox", "--no-first-run", "--disable-sync", "--disable-background-networking",
         "--disable-component-update")  # fmt: skip
SWIFTSHADER = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader")
# A host name is no secure context without https, unlike localhost.
INSECURE_HOST = "phone.test"
INSECURE = f"--host-resolver-rules=MAP {INSECURE_HOST} 127.0.0.1"
LIMIT_SECONDS = 120


def need_pages() -> None:
    """Skips a test where the pages are not built."""
    try:
        find_pages()
    except InputError:
        pytest.skip("the web pages are not built (make web)")


@contextlib.contextmanager
def chromium(*options: str) -> Iterator[Browser]:
    """Starts Debian's Chromium without a window."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no browser")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=[*QUIET, *options])
        yield browser
        browser.close()


@dataclass
class Bench:
    """A `bokeh-bench --device web` that waits for browsers.

    Attributes:
        url: The address that it printed.
        process: The command.
        output: Its folder.
    """

    url: str
    process: subprocess.Popen[str]
    output: Path

    def report(self) -> dict[str, Any]:
        """Waits until it ends, and returns its report."""
        _, self.stderr = self.process.communicate(timeout=LIMIT_SECONDS)
        found: dict[str, Any] = json.loads((self.output / "report.json").read_text("utf-8"))
        return found


@contextlib.contextmanager
def bench(folder: Path, *arguments: object) -> Iterator[Bench]:
    """Starts `bokeh-bench --device web` with few and short runs, and ends it with the block."""
    need_pages()
    output = folder / "bench"
    options = ["--runs", "5", "--seconds", "0", "--timeout", str(LIMIT_SECONDS), "-o", output]
    device = [] if "--device" in arguments else ["--device", "web"]
    command = [Path(sys.executable).parent / "bokeh-bench", *options, *device, *arguments]
    process = subprocess.Popen(
        [str(word) for word in command], stderr=subprocess.PIPE, text=True, cwd=folder
    )
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r"https?://\S+", line)
        assert found, line + process.stderr.read()
        yield Bench(found[0], process, output)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
