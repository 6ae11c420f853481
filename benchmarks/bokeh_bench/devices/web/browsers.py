"""The browsers that measure, and what they send: the API behind the page of a benchmark."""

from __future__ import annotations

import json
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

from bokeh_bench.devices.android.phone_answer import read_row
from bokeh_bench.devices.web.request import WebRow
from bokeh_runtime.errors import printable
from bokeh_runtime.web.server import ApiError

SILENT_SECONDS = 60.0
"""A page calls every two seconds; browsers let hidden pages call once in a minute at most."""
_RETURN_SECONDS = 10.0
"""A page that was left may be on its way back: it is being loaded again."""
_MOST_BROWSERS = 32
_MOST_SMALL_BYTES = 16 << 10
_MOST_ROW_BYTES = 256 << 10
_DONE = "Done. The report is on the computer; you can close this page."
_RELOADED = (
    "the page was loaded again during this row, for example since the browser was out of memory; "
    "close other pages and apps, or measure a smaller model"
)
_CLOSED = "the page was closed; open the address again, and leave the page open until it is done"
_SILENT = (
    f"the browser did not answer for {SILENT_SECONDS:.0f} s; keep the screen on and the page in "
    "front, and the phone in the network"
)


@dataclass
class Browser:
    """A browser that has opened the page.

    Attributes:
        id: What it calls itself with.
        label: Unique name for the report, such as "Chrome 140 on Pixel 8".
        environment: What it told of itself.
        folder: Where its outputs are written.
        answers: What it has measured, by the number of the row.
        current: Number of the row that it measures; None between rows.
        progress: What it does, in its own words.
        moved: When that changed last, on the monotonic clock.
        heard: When it called last.
        left: When it said that the page is left; None if it did not.
        done: Whether it knows that there is nothing left to do.
        given_up: Why nothing more is expected of it; "" if something is.
    """

    id: str
    label: str
    environment: Mapping[str, Any]
    folder: Path
    answers: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    current: int | None = None
    progress: str = "starting"
    moved: float = 0.0
    heard: float = 0.0
    left: float | None = None
    done: bool = False
    given_up: str = ""

    @property
    def is_finished(self) -> bool:
        """Whether nothing more is expected of it."""
        return self.done or bool(self.given_up)


class Browsers:
    """All browsers of a benchmark; the calls come from the threads of the server.

    Args:
        rows: What each of them measures.
        folder: For outputs.
        row_seconds: Time limit for each step of a row.
        clock: The monotonic clock.
    """

    def __init__(
        self,
        rows: Sequence[WebRow],
        folder: Path,
        row_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rows, self._folder, self._row_seconds, self._clock = rows, folder, row_seconds, clock
        self._found: dict[str, Browser] = {}
        self._changed = threading.Condition()

    def wait(self, seconds: float) -> None:
        """Waits until a browser has called, or the time is over; gives up those that are gone."""
        with self._changed:
            self._changed.wait(seconds)
            for browser in self._found.values():
                if not browser.is_finished:
                    browser.given_up = self._why_gone(browser)

    def all(self) -> list[Browser]:
        """Returns the browsers in the order in which they came."""
        with self._changed:
            return list(self._found.values())

    def limit(self, name: str, query: Mapping[str, str]) -> int:
        """Returns the most bytes of a call; those of outputs are as many as their shape says."""
        if name in ("hello", "next", "beat", "bye"):
            return _MOST_SMALL_BYTES
        if name == "row":
            return _MOST_ROW_BYTES
        if name == "outputs":
            with self._changed:
                return self._row_of(self._browser(query), query.get("row")).outputs_bytes
        raise ApiError(HTTPStatus.NOT_FOUND, "there is no such call")

    def call(self, name: str, query: Mapping[str, str], body: bytes) -> dict[str, Any]:
        """Does a call of the page; see docs/browser.md."""
        with self._changed:
            if name == "outputs":
                answer = self._outputs(query, body)
            else:
                answer = getattr(self, f"_{name}")(_json_object(body))
            self._changed.notify_all()
            return answer

    def _hello(self, given: Mapping[str, Any]) -> dict[str, Any]:
        browser = self._found.get(str(given.get("device")))
        if browser is None or browser.is_finished:
            if len(self._found) >= _MOST_BROWSERS:
                raise ApiError(
                    HTTPStatus.TOO_MANY_REQUESTS, "too many browsers take part; start again"
                )
            environment = _plain(given.get("environment"))
            identity = secrets.token_hex(8)
            folder = self._folder / identity
            folder.mkdir()
            browser = Browser(identity, self._label(environment), environment, folder)
            self._found[identity] = browser
        elif browser.current is not None:
            self._fail(browser, _RELOADED)
        browser.left, browser.heard, browser.moved = None, self._clock(), self._clock()
        return {"device": browser.id}

    def _next(self, given: Mapping[str, Any]) -> dict[str, Any]:
        browser = self._browser(given)
        if browser.current is not None:
            self._fail(browser, _RELOADED)
        number = len(browser.answers)
        if number < len(self._rows):
            browser.current, browser.moved = number, self._clock()
            return {"row": number, "done": ""}
        browser.done = True
        return {"row": None, "done": _DONE}

    def _beat(self, given: Mapping[str, Any]) -> dict[str, Any]:
        browser = self._browser(given)
        progress = printable(str(given.get("progress")))[:200]
        if progress != browser.progress:
            browser.progress, browser.moved = progress, self._clock()
        return {}

    def _bye(self, given: Mapping[str, Any]) -> dict[str, Any]:
        self._browser(given).left = self._clock()
        return {}

    def _outputs(self, query: Mapping[str, str], body: bytes) -> dict[str, Any]:
        browser = self._browser(query)
        expected = self._row_of(browser, query.get("row")).outputs_bytes
        if len(body) != expected:
            raise ApiError(
                HTTPStatus.BAD_REQUEST,
                f"the outputs have {len(body)} bytes instead of {expected}; reload the page",
            )
        (browser.folder / f"{browser.current}.f32").write_bytes(body)
        return {}

    def _row(self, given: Mapping[str, Any]) -> dict[str, Any]:
        browser = self._browser(given)
        row = self._row_of(browser, given.get("row"))
        number = len(browser.answers)
        try:
            answer = read_row(json.dumps(given.get("result")).encode(), browser.folder)
            if not answer["failure"]:
                wanted = f"{number}.f32" if row.outputs_bytes else None
                if answer["outputs"] != wanted:
                    raise ValueError(f"outputs is {answer['outputs']}")
                if wanted and not (browser.folder / wanted).exists():
                    raise ValueError("the outputs were not sent")
        except (ValueError, KeyError, TypeError) as error:
            self._fail(browser, f"the browser's result cannot be read ({error}); reload the page")
            raise ApiError(HTTPStatus.BAD_REQUEST, f"the row cannot be read ({error})") from error
        browser.answers[number], browser.current = answer, None
        return {}

    def _browser(self, given: Mapping[str, Any]) -> Browser:
        browser = self._found.get(str(given.get("device")))
        if browser is None:
            raise ApiError(HTTPStatus.NOT_FOUND, "this browser is not known; reload the page")
        if browser.given_up:
            raise ApiError(HTTPStatus.GONE, f"given up: {browser.given_up}")
        browser.heard = self._clock()
        return browser

    def _row_of(self, browser: Browser, number: object) -> WebRow:
        if browser.current is None or str(number) != str(browser.current):
            raise ApiError(HTTPStatus.CONFLICT, "this row is not measured now; reload the page")
        return self._rows[browser.current]

    def _fail(self, browser: Browser, reason: str) -> None:
        browser.answers[len(browser.answers)] = {"failure": reason}
        browser.current = None

    def _why_gone(self, browser: Browser) -> str:
        now = self._clock()
        if browser.left is not None and now - browser.left > _RETURN_SECONDS:
            return _CLOSED
        if now - browser.heard > SILENT_SECONDS:
            return _SILENT
        if now - browser.moved > self._row_seconds:
            return (
                f"no progress for {self._row_seconds:.0f} s ({browser.progress}); give a longer "
                "--timeout, or measure a smaller model"
            )
        return ""

    def _label(self, environment: Mapping[str, Any]) -> str:
        label = browser_label(environment)
        same = sum(re.sub(r" #\d+$", "", one.label) == label for one in self._found.values())
        return f"{label} #{same + 1}" if same else label


_BROWSERS = (
    ("Firefox", r"Firefox/(\d+)"),
    ("Firefox", r"FxiOS/(\d+)"),
    ("Chrome", r"CriOS/(\d+)"),
    ("Edge", r"Edg\w*/(\d+)"),
    ("Samsung Internet", r"SamsungBrowser/(\d+)"),
    ("Chrome", r"(?:Headless)?Chrom(?:e|ium)/(\d+)"),
    ("Safari", r"Version/(\d+)[\d.]* (?:Mobile/\S+ )?Safari"),
)
_SYSTEMS = ("iPhone", "iPad", "Android", "Windows", "CrOS", "Mac OS", "Linux")


def browser_label(environment: Mapping[str, Any]) -> str:
    """Returns a short name for a browser, such as "Chrome 140 on Pixel 8".

    Args:
        environment: What the browser told of itself, already printable.
    """
    agent = str(environment.get("user_agent", ""))
    found = ((name, re.search(pattern, agent)) for name, pattern in _BROWSERS)
    browser = next((f"{name} {match[1]}" for name, match in found if match), "a browser")
    system = next((name for name in _SYSTEMS if name in agent), "")
    place = str(environment.get("model") or "") or system
    return f"{browser} on {place}"[:60] if place else browser


def _plain(environment: object) -> dict[str, Any]:
    """Returns what is a printable text, a number, true or false of an object."""
    if not isinstance(environment, dict):
        return {}
    plain: dict[str, Any] = {}
    for name, value in list(environment.items())[:32]:
        if isinstance(value, str):
            plain[printable(name)[:40]] = printable(value)[:300]
        elif isinstance(value, bool) or (isinstance(value, int | float) and abs(value) < 1e15):
            plain[printable(name)[:40]] = value
    return plain


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ApiError(HTTPStatus.BAD_REQUEST, "the request is no JSON") from error
    if not isinstance(found, dict):
        raise ApiError(HTTPStatus.BAD_REQUEST, "the request is no JSON object")
    return found
