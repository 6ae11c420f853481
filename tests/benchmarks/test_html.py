"""The report in a browser: Debian's Chromium, without a window and without a network."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from bokeh_bench.measure.latency import Latency, LatencyRatio
from bokeh_bench.measure.operator_times import OperatorTime
from bokeh_bench.measure.rows import ModelFile, PairedComparison, Report, Row, SampleImages
from bokeh_bench.report.html import write_html
from bokeh_runtime import Placement
from bokeh_runtime.metrics.fidelity import Fidelity, compare
from bokeh_runtime.metrics.registry import all_metrics

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
HOSTILE = "<script>document.title='owned'</script>.tflite"


def row(name: str, shade: float, rng: np.random.Generator, **more: Any) -> Row:
    full = rng.random((64, 96, 3), np.float32) * np.float32(0.9)
    output = np.clip(full + np.float32(shade), 0, 1)
    photo = np.random.default_rng(7).integers(0, 255, (32, 48, 3)).astype(np.uint8)
    return Row(
        ModelFile(name, "ab" * 32, 1_500_000, "int8", "32 x 48 RGB"),
        "cpu",
        threads=2,
        placement=Placement(
            "cpu", "cpu", "a CPU", 9, 10, unsupported_ops=["ADD"], reasons={"ADD": "why not"}
        ),
        latency=Latency(100, 30, 6, list(20 + rng.random(20))),
        peak_rss_bytes=300_000_000,
        fidelity=[Fidelity([compare("a photo", output, full, border_px=0, metrics=all_metrics())])],
        operator_times=[
            OperatorTime("Convolution", 3, 15.0, 0.75),
            OperatorTime("Add", 2, 5.0, 0.25),
        ],
        notes=["a note"],
        sample_images=[SampleImages("a photo", photo, full, output)],
        **more,
    )


@pytest.fixture
def page_path(tmp_path: Path, rng: np.random.Generator) -> Path:
    rows = [row("one.tflite", 0.02, rng), row(HOSTILE, 0.1, rng)]
    failed = Row(ModelFile("gone.tflite"), "gpu", failure="no GPU here", failure_kind="hardware")
    comparison = PairedComparison(rows[0].name, rows[1].name, LatencyRatio(0.9, 0.88, 0.93), 20, 10)
    path = tmp_path / "report.html"
    write_html(path, Report("2026-01-01T00:00:00+00:00", {"cpu": "x"}, [*rows, failed], comparison))
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no browser")
    playwright = pytest.importorskip("playwright.sync_api")
    options = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
               "--disable-background-networking", "--disable-component-update")  # fmt: skip
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=list(options))
        yield browser
        browser.close()


@pytest.fixture(params=[DESK, PHONE], ids=["desk", "phone"])
def page(request: pytest.FixtureRequest, browser: Browser, page_path: Path) -> Iterator[Page]:
    context = browser.new_context(viewport=request.param, has_touch=request.param is PHONE)
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text))
    page.on("request", lambda sent: sent.url.startswith("http") and faults.append(sent.url))
    page.goto(page_path.as_uri())
    yield page
    assert faults == []
    context.close()


def cut(page: Page) -> str:
    script = "() => document.getElementById('slider').style.getPropertyValue('--cut')"
    return str(page.evaluate(script))


@pytest.mark.slow
def test_nothing_overflows_and_every_image_is_shown(page: Page) -> None:
    width = page.evaluate("() => [document.documentElement.scrollWidth, window.innerWidth]")
    assert width[0] <= width[1]
    sizes = page.evaluate("() => [...document.images].map(i => [i.naturalWidth, i.alt])")
    assert len(sizes) == 6
    assert all(natural == 96 and alt for natural, alt in sizes)
    shown = [svg for svg in page.query_selector_all(".plot svg") if svg.is_visible()]
    assert len(shown) == 2


@pytest.mark.slow
def test_it_opens_on_the_photo_that_the_model_changes_most(
    browser: Browser, tmp_path: Path, rng: np.random.Generator
) -> None:
    names, images = ("kept", "blurred", "nearly kept"), []
    for name, change in zip(names, (0, 90, 20), strict=True):
        photo = rng.integers(0, 160, (64, 96, 3)).astype(np.uint8)
        full = np.asarray((photo + change) / 255, np.float32)
        images.append(SampleImages(name, photo, full, full))
    path = tmp_path / "report.html"
    rows = [replace(row("one.tflite", 0.02, rng), sample_images=images)]
    write_html(path, Report("now", {}, rows))
    page = browser.new_page()
    page.goto(path.as_uri())
    assert page.locator("#photo option:checked").inner_text() == "blurred, 96 x 64"
    first = page.locator("img, table").all()[:2]
    assert [element.get_attribute("id") for element in first] == ["show-photo", "show-output"]
    page.close()


@pytest.mark.slow
def test_the_slider_works_by_mouse_or_touch(page: Page) -> None:
    slider = page.locator("#slider")
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] * 0.25, box["y"] + box["height"] / 2
    if page.evaluate("() => navigator.maxTouchPoints > 0"):
        page.touchscreen.tap(x, y)
    else:
        page.mouse.move(box["x"] + box["width"] / 2, y)
        page.mouse.down()
        page.mouse.move(x, y, steps=5)
        page.mouse.up()
    assert 20 <= float(cut(page).rstrip("%")) <= 30


@pytest.mark.slow
def test_the_slider_works_by_keyboard(page: Page) -> None:
    page.focus("#cut")
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    assert cut(page) == "47%"
    page.keyboard.press("Home")
    assert cut(page) == "0%"


@pytest.mark.slow
def test_models_and_sides_can_be_chosen(page: Page) -> None:
    before = page.get_attribute("#under", "src")
    page.select_option("#row", "1")
    assert page.get_attribute("#under", "src") != before
    shown = page.inner_text("#quality")
    assert "PSNR 20.0 dB, SSIM 0." in shown
    assert shown.endswith(", grain - vs full model.")  # this photo is noise
    page.select_option("#right", "difference")
    assert page.get_attribute("#under", "src") == page.get_attribute("#show-difference", "src")


@pytest.mark.slow
def test_names_are_text_and_failures_are_shown(page: Page) -> None:
    assert page.title() == "bokeh-bench report"
    text = page.inner_text("main")
    for words in (
        HOSTILE,
        "no GPU here",
        "unsupported op (runs on the CPU): ADD (why not)",
        "a note",
        "95 % confidence interval 0.880 to 0.930",
    ):
        assert words in text


def test_an_image_is_in_the_file_once(page_path: Path) -> None:
    text = page_path.read_text()
    # The photo of both rows; full model, output and difference of each.
    assert text.count("data:image/webp;base64,") == 1 + 2 * 3
    assert "http" not in text.replace("http://www.w3.org", "")  # names of XML vocabularies


def gallery(path: Path) -> dict[str, Any]:
    """What the page's script chooses the images from, with the images as pixels."""
    found = re.search(r"^const gallery = (.*);$", path.read_text(), re.MULTILINE)
    assert found is not None
    shown: dict[str, Any] = json.loads(found[1])
    shown["images"] = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))
        for uri in shown["images"]
    ]
    return shown


def grey(level: int) -> np.ndarray:
    return np.full((64, 96, 3), level / 255, np.float32)


def test_it_opens_on_a_photo_of_the_model_that_is_shown_first(tmp_path: Path) -> None:
    photo = np.full((64, 96, 3), 90, np.uint8)
    rows = [
        measured(name, [SampleImages(name, photo, grey(full), grey(full))])
        for name, full in (("a", 100), ("b", 200))
    ]
    write_html(tmp_path / "report.html", Report("now", {}, rows))
    assert '<option value="0" selected>a, 96 x 64<' in (tmp_path / "report.html").read_text()


def measured(name: str, samples: list[SampleImages]) -> Row:
    images = [
        compare(one.name, one.output, one.full_model, border_px=0, metrics=()) for one in samples
    ]
    values = {metric.key: None for metric in all_metrics()}
    fidelity = Fidelity([replace(image, values=values) for image in images])
    return Row(ModelFile(name), "cpu", fidelity=[fidelity], sample_images=samples)


def test_each_model_is_shown_with_its_own_full_model(tmp_path: Path) -> None:
    photo = np.full((64, 96, 3), 90, np.uint8)
    rows = [
        measured(name, [SampleImages("a photo", photo, grey(full), grey(full + 1))])
        for name, full in (("a.tflite", 100), ("b.tflite", 150))
    ]
    write_html(tmp_path / "report.html", Report("now", {}, rows))
    shown = gallery(tmp_path / "report.html")
    assert [one["name"] for one in shown["photos"]] == ["a photo, 96 x 64"]
    own = [row["images"]["0"] for row in shown["rows"]]
    for kind, levels in (("full", [100, 150]), ("output", [101, 151])):
        assert [shown["images"][one[kind]].mean() for one in own] == levels


def test_photos_of_one_name_are_shown_with_their_own_results(tmp_path: Path) -> None:
    samples = [
        SampleImages("x", np.full((32, 48, 3), level, np.uint8), grey(level + 10), grey(output))
        for level, output in ((50, 61), (100, 130))
    ]
    rows = [measured(name, samples) for name in ("a.tflite", "b.tflite")]
    write_html(tmp_path / "report.html", Report("now", {}, rows))
    shown = gallery(tmp_path / "report.html")
    assert [one["name"] for one in shown["photos"]] == ["x, 96 x 64", "x, 96 x 64 (2)"]
    assert [shown["images"][one["photo"]].mean() for one in shown["photos"]] == [50, 100]
    for row in shown["rows"]:
        own = [row["images"][number] for number in ("0", "1")]
        for kind, levels in (("full", [60, 110]), ("output", [61, 130])):
            assert [shown["images"][one[kind]].mean() for one in own] == levels
        # Errors of 1/255 and 20/255.
        assert [one["quality"][:12] for one in own] == ["PSNR 48.1 dB", "PSNR 22.1 dB"]


@pytest.mark.slow
def test_an_empty_report_is_a_page(tmp_path: Path) -> None:
    write_html(tmp_path / "report.html", Report("now", {}, [], interrupted=True))
    text = (tmp_path / "report.html").read_text()
    assert "Nothing has been measured yet" in text
    assert "Interrupted" in text


def test_a_file_name_that_is_no_utf_8_is_escaped(tmp_path: Path) -> None:
    row = Row(ModelFile("m\udcff.tflite"), "cpu", 1, failure="missing", failure_kind="input")
    write_html(tmp_path / "report.html", Report("now", {}, [row]))
    assert "m\\udcff.tflite" in (tmp_path / "report.html").read_text()
