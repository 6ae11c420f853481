"""What the page of a benchmark may send, and what becomes of it."""

from __future__ import annotations

import json
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from bokeh_bench.devices.web.browsers import SILENT_SECONDS, Browsers, browser_label
from bokeh_bench.devices.web.request import WebRow
from bokeh_bench.measure.cases import BenchmarkCase
from bokeh_runtime.web.server import ApiError

AGENT = "Mozilla/5.0 (Linux; Android 10; K) Chrome/140.0.0.0 Mobile Safari/537.36"
CASE = BenchmarkCase(Path("a.tflite"), "cpu", None)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def browsers(tmp_path: Path, clock: Clock) -> Browsers:
    rows = [WebRow(CASE, "float32", 8), WebRow(CASE, "float32", 0)]
    return Browsers(rows, tmp_path, row_seconds=100, clock=clock)


def send(browsers: Browsers, name: str, **data: Any) -> dict[str, Any]:
    return browsers.call(name, {}, json.dumps(data).encode())


def hello(browsers: Browsers, device: str | None = None) -> str:
    environment = {"user_agent": AGENT, "model": "Pixel 8\x1b[31m", "cores": 8, "list": [1]}
    return str(send(browsers, "hello", device=device, environment=environment)["device"])


def result(**changes: Any) -> dict[str, Any]:
    placement = {"requested": "cpu", "delegate": "cpu", "device": "wasm", "delegated_ops": None,
                 "total_ops": 2, "unsupported_ops": None, "precision": "float32",
                 "notes": []}  # fmt: skip
    return {"failure": "", "placement": placement, "load_ms": 1, "first_inference_ms": 1,
            "warm_up_runs": 2, "runs_ms": [1, 2], "outputs": "0.f32", "output_shape": [1, 1, 2, 1],
            "notes": [], **changes}  # fmt: skip


def refused(browsers: Browsers, name: str, status: HTTPStatus, **data: Any) -> str:
    with pytest.raises(ApiError) as error:
        send(browsers, name, **data)
    assert error.value.status == status
    return str(error.value)


def test_a_browser_measures_a_row_after_the_other(browsers: Browsers) -> None:
    device = hello(browsers)
    assert send(browsers, "next", device=device) == {"row": 0, "done": ""}
    query = {"device": device, "row": "0"}
    assert browsers.limit("outputs", query) == 8
    browsers.call("outputs", query, b"12345678")
    send(browsers, "row", device=device, row=0, result=result())
    assert send(browsers, "next", device=device)["row"] == 1
    send(browsers, "row", device=device, row=1, result={"failure": "no\x07 memory"})
    assert send(browsers, "next", device=device)["row"] is None
    (browser,) = browsers.all()
    assert browser.is_finished
    assert browser.answers[1]["failure"] == "no\\x07 memory"
    assert browser.label == "Chrome 140 on Pixel 8\\x1b[31m"
    assert "list" not in browser.environment
    assert (browser.folder / "0.f32").read_bytes() == b"12345678"


@pytest.mark.parametrize("size", [0, 7, 9])
def test_outputs_of_another_size_are_refused(browsers: Browsers, size: int) -> None:
    device = hello(browsers)
    send(browsers, "next", device=device)
    query = {"device": device, "row": "0"}
    with pytest.raises(ApiError, match=f"{size} bytes instead of 8"):
        browsers.call("outputs", query, b"x" * size)
    assert not list(browsers.all()[0].folder.iterdir())


def test_rows_that_are_not_measured_now_are_refused(browsers: Browsers) -> None:
    device = hello(browsers)
    refused(browsers, "row", HTTPStatus.CONFLICT, device=device, row=0, result=result())
    send(browsers, "next", device=device)
    for number in (1, -1, "../0", None):
        refused(browsers, "row", HTTPStatus.CONFLICT, device=device, row=number, result=result())
    with pytest.raises(ApiError):
        browsers.limit("outputs", {"device": device, "row": "1"})


@pytest.mark.parametrize(
    "wrong",
    [result(), result(runs_ms=[]), result(runs_ms="x"), result(outputs="../../x"), {}, [], None,
     result(outputs=None)],
)  # fmt: skip
def test_a_row_that_breaks_the_contract_fails(browsers: Browsers, wrong: Any) -> None:
    device = hello(browsers)  # that has sent no outputs
    send(browsers, "next", device=device)
    refused(browsers, "row", HTTPStatus.BAD_REQUEST, device=device, row=0, result=wrong)
    assert "cannot be read" in browsers.all()[0].answers[0]["failure"]
    assert send(browsers, "next", device=device)["row"] == 1


def test_calls_that_are_no_json_or_of_nobody_are_refused(browsers: Browsers) -> None:
    for body in (b"", b"[]", b"\xff", b"[" * 10_000):
        with pytest.raises(ApiError):
            browsers.call("hello", {}, body)
    refused(browsers, "next", HTTPStatus.NOT_FOUND, device="me")
    with pytest.raises(ApiError):
        browsers.limit("all", {})
    with pytest.raises(ApiError):
        browsers.limit("_browser", {})


def test_a_page_that_is_loaded_again_goes_on_after_the_row_in_which_it_ended(
    browsers: Browsers,
) -> None:
    device = hello(browsers)
    send(browsers, "next", device=device)
    send(browsers, "bye", device=device)
    assert hello(browsers, device) == device
    assert send(browsers, "next", device=device)["row"] == 1
    assert "loaded again" in browsers.all()[0].answers[0]["failure"]


def test_a_closed_page_and_a_silent_one_and_a_stuck_one_are_given_up(
    browsers: Browsers, clock: Clock
) -> None:
    closed, silent, stuck = (hello(browsers) for _ in range(3))
    for device in (closed, silent, stuck):
        send(browsers, "next", device=device)
    send(browsers, "bye", device=closed)
    while clock.now < 110:
        clock.now += 5
        send(browsers, "beat", device=stuck, progress="photo 1")
        browsers.wait(0)
        if clock.now < 10:
            assert not any(one.is_finished for one in browsers.all())
        if clock.now == SILENT_SECONDS:
            assert [one.is_finished for one in browsers.all()] == [True, False, False]
        if browsers.all()[2].is_finished:
            break
    reasons = [one.given_up for one in browsers.all()]
    assert "was closed" in reasons[0]
    assert "did not answer" in reasons[1]
    assert "no progress for 100 s (photo 1)" in reasons[2]
    refused(browsers, "beat", HTTPStatus.GONE, device=stuck, progress="photo 2")
    assert hello(browsers, closed) != closed  # it starts again, as another


def test_phones_of_a_kind_are_told_apart_and_their_number_is_limited(browsers: Browsers) -> None:
    for _ in range(32):
        hello(browsers)
    labels = [one.label for one in browsers.all()]
    assert labels[1].endswith("#2")
    assert len(set(labels)) == 32
    refused(browsers, "hello", HTTPStatus.TOO_MANY_REQUESTS, environment={})


@pytest.mark.parametrize(
    ("agent", "label"),
    [
        (AGENT, "Chrome 140 on Android"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like "
         "Gecko) Version/18.5 Mobile/15E148 Safari/604.1", "Safari 18 on iPhone"),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
         "Firefox 140 on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0) Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0",
         "Edge 140 on Windows"),
        ("", "a browser"),
    ],
)  # fmt: skip
def test_a_browser_is_named_after_what_it_tells(agent: str, label: str) -> None:
    assert browser_label({"user_agent": agent}) == label
