"""Models in a browser on this machine: wasm beside native code, and what a page costs."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2

from bokeh_bench.devices.web.browsers import browser_label
from bokeh_bench.measure.cases import BenchmarkCase
from bokeh_bench.measure.host import Settings
from bokeh_bench.measure.host import measure as measure_on_host
from bokeh_bench.measure.latency import estimate_latency_ratio
from bokeh_bench.measure.references import FullModelReferences
from bokeh_bench.report.tables import markdown_table
from bokeh_runtime.errors import HardwareError, InputError, printable
from bokeh_runtime.web.address import ServeOptions
from bokeh_runtime.web.pages import find_pages
from bokeh_runtime.web.server import ApiError, PageServer, Site
from bokeh_runtime.web.site import site_model

_LIMIT_SECONDS = 900.0
_MOST_BYTES = 1 << 20
_PHOTO = "photos/calibration/drum.jpg"
_PHOTO_SIZE = (4000, 3000)
_QUIET = ("--headless=new", "--no-first-run", "--disable-sync", "--disable-background-networking",
          "--disable-component-update", "--no-sandbox")  # fmt: skip


@dataclass(frozen=True)
class WasmRow:
    """A model with one thread.

    Attributes:
        model: File name.
        native_ms, wasm_ms: Median latency in the native interpreter and in the browser.
        overhead, overhead_low, overhead_high: The page's run time divided by that of a bare loop of
            LiteRT.js, in interleaved runs, with its 95 % confidence interval.
    """

    model: str
    native_ms: float
    wasm_ms: float
    overhead: float
    overhead_low: float
    overhead_high: float


@dataclass(frozen=True)
class LoadRow:
    """The way to the first picture, in a browser without a cache.

    Attributes:
        browser: Its name.
        litert_js: Version of LiteRT.js.
        photo: Size of the photo.
        loaded_bytes: Bytes that the server sent until then, compressed, without the photo.
        first_picture_ms: From the start of loading the page to the result in full size.
    """

    browser: str
    litert_js: str
    photo: str
    loaded_bytes: int
    first_picture_ms: float


def measure(
    models: Sequence[Path],
    browser: str,
    rounds: int,
    runs: int,
    progress: Callable[[str], None],
) -> tuple[list[WasmRow], LoadRow]:
    """Measures models in a browser without a window, and in the native interpreter.

    Args:
        models: .tflite files; the first one makes the first picture.
        browser: Chromium's or Chrome's program.
        rounds: Number of interleaved blocks of runs.
        runs: Number of runs in each.
        progress: Called with a description of each step.

    Raises:
        HardwareError: If the browser is missing, or does not measure.
        InputError: If the pages are not built, or a model cannot be read.
    """
    program = shutil.which(browser)
    if program is None:
        raise HardwareError(f"web: {browser} is not installed; give --browser, or apt install it")
    pages = find_pages()
    native = _native(models, rounds * runs, progress)
    progress(f"measuring in {browser}")
    site = _study_site(models, rounds, runs)
    results = _Results(site)
    site.api = results
    # The browser's last process may still write while the folder is removed.
    folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    with PageServer(site, ServeOptions()) as server, folder as profile:
        command = [program, *_QUIET, f"--user-data-dir={profile}", f"{server.url}study/index.html"]
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            found = results.wait(_LIMIT_SECONDS)
        finally:
            running.kill()
            running.wait()
    rows = [
        _row(path, latency, blocks)
        for path, latency, blocks in zip(models, native, found["blocks"], strict=True)
    ]
    load = LoadRow(
        browser_label({"user_agent": found["user_agent"]}),
        pages.litert_version,
        f"{_PHOTO_SIZE[0]} x {_PHOTO_SIZE[1]}",
        site.bytes_to_picture,
        found["first_picture_ms"],
    )
    return rows, load


def table(rows: Sequence[WasmRow], load: LoadRow) -> str:
    """Returns a Markdown table, and a sentence on loading."""
    text = markdown_table(
        ("model", "native", "wasm", "wasm / native", "page / bare loop", "95 % interval"),
        [
            (
                row.model,
                f"{row.native_ms:.1f} ms",
                f"{row.wasm_ms:.1f} ms",
                f"{row.wasm_ms / row.native_ms:.1f}",
                f"{row.overhead:.3f}",
                f"{row.overhead_low:.3f} to {row.overhead_high:.3f}",
            )
            for row in rows
        ],
    )
    return (
        f"{text}\n\nOne thread, {load.browser}, LiteRT.js {load.litert_js}. To the first picture: "
        f"{load.first_picture_ms / 1000:.1f} s from the start of loading (a photo of {load.photo} "
        f"pixels, all threads), and {load.loaded_bytes / 1e6:.1f} MB of pages, LiteRT.js and "
        f"{rows[0].model}."
    )


def _row(path: Path, native_ms: float, blocks: Sequence[Mapping[str, Sequence[float]]]) -> WasmRow:
    ratio = estimate_latency_ratio([(block["ours"], block["bare"]) for block in blocks])
    wasm_ms = statistics.median(time for block in blocks for time in block["ours"])
    low, high = ratio.ci95_low, ratio.ci95_high
    return WasmRow(path.name, native_ms, wasm_ms, ratio.estimate, low, high)


def _native(models: Sequence[Path], runs: int, progress: Callable[[str], None]) -> list[float]:
    """Median latencies in the native interpreter, with one thread.

    Raises:
        InputError: If a model does not run.
    """
    full_model = FullModelReferences(None, None, None, progress)
    settings = Settings(runs, 0, full_model, time_operators=False)
    cases = [BenchmarkCase(path, "cpu", 1) for path in models]
    medians = []
    for row in measure_on_host(cases, settings, progress):
        if row.latency is None:
            raise InputError(f"{row.name}: {row.failure}")
        medians.append(row.latency.median_ms)
    return medians


class _StudySite(Site):
    """Counts the bytes that it sends until the first picture, without those of the photo."""

    bytes_to_picture = 0
    is_counting = True
    _lock = threading.Lock()

    def content(self, name: str) -> bytes:
        return self._counted(name, super().content(name))

    def compressed(self, name: str) -> bytes:
        return self._counted(name, super().compressed(name))

    def _counted(self, name: str, content: bytes) -> bytes:
        with self._lock:  # the server's threads send files at the same time
            if self.is_counting and name != "photo.jpg":
                self.bytes_to_picture += len(content)
        return content


class _Results:
    """Takes what the study's page has measured."""

    def __init__(self, site: _StudySite) -> None:
        self._site, self._ended, self._found = site, threading.Event(), dict[str, Any]()

    def wait(self, seconds: float) -> dict[str, Any]:
        """Returns the result of the page.

        Raises:
            HardwareError: If there is none in time, or the page failed.
        """
        if not self._ended.wait(seconds):
            raise HardwareError(f"web: the browser measured nothing within {seconds:.0f} s")
        if self._found["failure"]:
            raise HardwareError(f"web: the page failed ({printable(self._found['failure'])})")
        return self._found

    def limit(self, name: str, query: Mapping[str, str]) -> int:
        del query
        if name not in ("first", "result"):
            raise ApiError(HTTPStatus.NOT_FOUND, "there is no such call")
        return _MOST_BYTES

    def call(self, name: str, query: Mapping[str, str], body: bytes) -> dict[str, Any]:
        del query
        if name == "first":
            self._site.is_counting = False
        else:
            self._found = json.loads(body)
            self._ended.set()
        return {}


def _study_site(models: Sequence[Path], rounds: int, runs: int) -> _StudySite:
    site: dict[str, Path | bytes] = dict(find_pages().files())
    described = []
    for number, path in enumerate(models):
        content, about = site_model(path)
        site[f"models/{number}.tflite"] = content
        described.append({**about, "file": f"models/{number}.tflite"})
    asked = {"models": described, "rounds": rounds, "runs": runs}
    site["study.json"] = json.dumps(asked).encode()
    photo = cv2.imread(str(files("bokeh_convert") / _PHOTO))
    assert photo is not None
    large = cv2.resize(photo, _PHOTO_SIZE, interpolation=cv2.INTER_CUBIC)
    site["photo.jpg"] = cv2.imencode(".jpg", large)[1].tobytes()
    return _StudySite(site, "study/index.html")
