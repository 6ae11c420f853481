"""Serves the page of a benchmark, waits for browsers, and makes rows of what they send."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bokeh_bench.devices import Progress
from bokeh_bench.devices.android.phone_rows import row_or_failure
from bokeh_bench.devices.web.browsers import Browser, Browsers
from bokeh_bench.devices.web.request import WebRequest
from bokeh_bench.measure.cases import WARM_UP_SECONDS, read_model_under_test
from bokeh_bench.measure.references import FullModelReferences
from bokeh_bench.measure.rows import Report, Row
from bokeh_runtime.errors import HardwareError, InputError
from bokeh_runtime.web.announcement import announce
from bokeh_runtime.web.pages import find_pages
from bokeh_runtime.web.server import PageServer, Site

if TYPE_CHECKING:
    from bokeh_bench.options import Options

_POLL_SECONDS = 0.5
_LAST_ANSWER_SECONDS = 1.0
"""The server stays for as long, so that the last page gets its last answer."""


def measure_in_browsers(
    options: Options, report: Report, full_model: FullModelReferences, progress: Progress
) -> Iterator[Report]:
    """Yields the report each time that a browser has measured a row.

    It ends when as many browsers as were asked for have come, and none of those that came is
    still measuring.

    Args:
        options: `device_argument` is the number of browsers to wait for.
        report: The rows are added to it.
        full_model: Source of the full model's reference outputs.
        progress: Shows what the browsers do, and prints the address.

    Raises:
        InputError: If a model cannot be read, the pages are not built, or the address is wrong.
        HardwareError: If no browser came within `options.timeout`.
    """
    count = _count(options.device_argument)
    cases = options.cases()
    if any(case.delegate == "nnapi" for case in cases):
        raise InputError("--delegate nnapi: a browser has cpu (wasm), gpu (WebGPU), npu (WebNN)")
    pages = find_pages()
    models = {path: read_model_under_test(path, full_model) for path in options.model_paths}
    request = WebRequest.of(cases, models, options.runs, options.seconds)
    limit = options.timeout + WARM_UP_SECONDS + options.seconds
    with tempfile.TemporaryDirectory() as name:
        browsers = Browsers(request.rows, Path(name), limit)
        site = Site({**pages.files(), **request.files}, "bench.html", browsers)
        with PageServer(site, options.serving) as server:
            announce(server, options.serving, progress.announce, with_code=progress.is_terminal)
            environment = {**report.environment, "litert_js": pages.litert_version}
            for found in _changes(browsers, count, options.timeout, progress):
                rows = [row for browser in found for row in _rows(browser, request)]
                about = {browser.label: dict(browser.environment) for browser in found}
                yield replace(report, environment={**environment, "browsers": about}, rows=rows)
            time.sleep(_LAST_ANSWER_SECONDS)


def _count(text: str | None) -> int:
    if text is None:
        return 1
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= 32):
        raise InputError(f"--device web:{text}: give the number of browsers, such as web:2")
    return int(text)


def _changes(
    browsers: Browsers, count: int, patience: float, progress: Progress
) -> Iterator[list[Browser]]:
    """Yields the browsers each time that one of them has measured a row or is given up."""
    start, before, greeted = time.monotonic(), None, 0
    while True:
        browsers.wait(_POLL_SECONDS)
        found = browsers.all()
        for browser in found[greeted:]:
            progress.announce(f"{browser.label} takes part")
        if len(found) > greeted:
            greeted, start = len(found), time.monotonic()
        running = [browser for browser in found if not browser.is_finished]
        state = [(browser.id, len(browser.answers), browser.is_finished) for browser in found]
        if found and state != before:
            before = state
            yield found
        if not running and len(found) >= count:
            return
        if not running and time.monotonic() - start > patience:
            if not found:
                raise HardwareError(
                    f"web: no browser opened the page within {patience:.0f} s; open the address, "
                    "or give a longer --timeout"
                )
            progress.announce(f"only {len(found)} of {count} browsers came")
            return
        waiting = f"waiting for {count - len(found)} more; " if len(found) < count else ""
        doing = "; ".join(f"{browser.label}: {browser.progress}" for browser in running)
        progress(f"{waiting}{doing}" if found else "waiting for a browser")


def _rows(browser: Browser, request: WebRequest) -> list[Row]:
    """Returns the rows that a browser has measured; those that it cannot any more have a reason."""
    rows = []
    for number, asked in enumerate(request.rows):
        model = request.models[asked.case.model]
        row = asked.empty(model, browser.label)
        answer = browser.answers.get(number)
        if answer is not None:
            rows.append(
                row_or_failure(row, answer, model, browser.folder, browser.label, "reload the page")
            )
        elif browser.given_up:
            rows.append(replace(row, failure=browser.given_up, failure_kind="hardware"))
    return rows
