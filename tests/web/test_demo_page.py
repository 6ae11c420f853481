"""The page of `bokeh-render --serve`, in Chromium at the widths of a desk and of a phone."""

from __future__ import annotations

import base64
import functools
import http.server
import io
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from bokeh_runtime import BokehModel, read_photo
from bokeh_runtime.web.address import ServeOptions
from bokeh_runtime.web.server import PageServer, Site
from bokeh_runtime.web.site import INDEX, demo_site, export_site
from helpers.browsers import DESK, LIMIT_SECONDS, PHONE, need_pages
from helpers.commands import command

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page, Route

pytestmark = pytest.mark.slow
READY = "body[data-state=idle]"
RENDERED = "body[data-state=idle] #save:not([disabled])"
LIMIT_MS = LIMIT_SECONDS * 1000


@pytest.fixture
def served(small_files: dict[str, Path]) -> Iterator[PageServer]:
    need_pages()
    models = [small_files["float16"], small_files["int8"]]
    with PageServer(Site(demo_site(models), INDEX), ServeOptions()) as server:
        yield server


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    found = browser.new_context(viewport=DESK, accept_downloads=True)
    yield found
    found.close()


@pytest.fixture
def page(context: BrowserContext, served: PageServer) -> Iterator[Page]:
    page = context.new_page()
    elsewhere: list[str] = []
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    context.on("request", lambda sent: elsewhere.append(sent.url))
    page.goto(served.url)
    page.wait_for_selector(READY, timeout=LIMIT_MS)
    yield page
    assert faults == []
    known = (served.url, "blob:", "data:")
    assert [url for url in elsewhere if not url.startswith(known)] == []


def choose(page: Page, photo: Path) -> None:
    page.set_input_files("#choose", photo)
    page.wait_for_selector("#viewer:not([hidden])", timeout=LIMIT_MS)
    page.wait_for_selector(RENDERED, timeout=LIMIT_MS)


def saved(page: Page) -> tuple[str, Any]:
    with page.expect_download() as download:
        page.click("#save")
    content = Path(download.value.path()).read_bytes()
    return download.value.suggested_filename, np.asarray(Image.open(io.BytesIO(content)), float)


def on_the_page(page: Page) -> Any:
    """The result in the page's canvas, without JPEG."""
    data = page.evaluate("() => document.getElementById('after').toDataURL().split(',')[1]")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"), float)


def by_python(model: Path, photo: Path, strength: float = 1.0) -> Any:
    with BokehModel.open(model, "cpu") as opened:
        pixels = opened.render(read_photo(photo).pixels, strength=strength).pixels
    return pixels.astype(float)


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_the_picture_is_pythons(
    page: Page, photo: Path, small_files: dict[str, Path], device: str
) -> None:
    page.select_option("#device", device)
    page.wait_for_selector(READY, timeout=LIMIT_MS)
    choose(page, photo)
    off = np.abs(on_the_page(page) - by_python(small_files["float16"], photo))
    assert off.max() <= 2
    assert np.mean(off > 1) < 0.01
    name, picture = saved(page)
    assert name == "photo.bokeh.jpg"
    assert picture.shape == (240, 320, 3)
    page.evaluate("() => { document.querySelector('details').open = true; }")
    shown = page.inner_text("#details")
    assert ("WebGPU" in shown) == (device == "gpu")


def patched(page: Page, file: str, pattern: str, replacement: str) -> None:
    """Changes a module of the page."""

    def answer(route: Route) -> None:
        text, count = re.subn(pattern, replacement, route.fetch().text())
        assert count
        route.fulfill(body=text, content_type="text/javascript")

    page.context.route(f"**/{file}", answer)


def test_a_gpu_whose_picture_is_wrong_is_not_used(
    page: Page, photo: Path, small_files: dict[str, Path]
) -> None:
    # No picture is as close as that.
    patched(page, "pipeline/contract.js", r"(PICTURE|FLOOR)_DB = [\d.]+", r"\1_DB = 1000")
    page.reload()
    page.wait_for_selector(READY, timeout=LIMIT_MS)
    details = page.locator("#details").text_content()
    assert details
    assert "Runs onwasm" in details
    assert "is wrong" in details
    choose(page, photo)
    off = np.abs(on_the_page(page) - by_python(small_files["float16"], photo))
    assert off.max() <= 2
    page.select_option("#device", "gpu")
    page.wait_for_selector("body[data-state=failed]", timeout=LIMIT_MS)
    assert "dB PSNR against the CPU's); use the CPU" in page.inner_text("#error")


def test_the_cpu_goes_on_where_a_gpu_fails(
    page: Page, photo: Path, small_files: dict[str, Path]
) -> None:
    # The first run is the check's.
    patched(
        page,
        "inference/network.js",
        r"return this.runCompiled\(this.compiled, values\);",
        r"""if (this.delegate === "gpu" && this.ran) throw new Error("the device was lost");
            this.ran = true;
            \g<0>""",
    )
    page.reload()
    page.wait_for_selector(READY, timeout=LIMIT_MS)
    assert "WebGPU" in (page.locator("#details").text_content() or "")
    choose(page, photo)
    off = np.abs(on_the_page(page) - by_python(small_files["float16"], photo))
    assert off.max() <= 2
    details = page.locator("#details").text_content()
    assert details
    assert "Runs onwasm" in details
    assert "gpu: the device was lost" in details


def test_strength_is_that_of_the_saved_picture(
    page: Page, photo: Path, small_files: dict[str, Path]
) -> None:
    choose(page, photo)
    page.locator("#strength").fill("40")
    assert page.inner_text("#strength-text") == "40 %"
    assert page.evaluate("() => document.getElementById('after').style.opacity") == "0.4"
    _, picture = saved(page)
    expected = by_python(small_files["float16"], photo, 0.4)
    whole = by_python(small_files["float16"], photo)
    near, far = (np.mean((picture - one) ** 2) for one in (expected, whole))
    assert near < 0.2 * far


def test_another_model_renders_the_photo_again(page: Page, photo: Path) -> None:
    choose(page, photo)
    before = on_the_page(page)
    page.select_option("#model", "1")
    page.wait_for_selector("body[data-state=working]", timeout=LIMIT_MS)
    page.wait_for_selector(RENDERED, timeout=LIMIT_MS)
    after = on_the_page(page)
    assert 0 < np.abs(after - before).mean() < 10


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_the_screen_in_both_colour_schemes(
    page: Page, photo: Path, size: Any, scheme: Any
) -> None:
    page.set_viewport_size(size)
    page.emulate_media(color_scheme=scheme)
    choose(page, photo)
    width = page.evaluate("() => [document.documentElement.scrollWidth, window.innerWidth]")
    assert width[0] <= width[1]
    colour = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    red = int(re.findall(r"\d+", colour)[0])
    assert (red < 60) == (scheme == "dark")
    box = page.locator("#stage").bounding_box()
    assert box
    assert box["width"] > 300
    assert "sends it nowhere" in page.inner_text(".privacy")


def test_it_works_with_the_keyboard(page: Page, photo: Path) -> None:
    choose(page, photo)
    reached = []
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("() => document.activeElement.id || document.activeElement.tagName")
        )
    order = [name for name in reached if name in ("choose", "split", "strength", "model", "save")]
    assert order[:5] == ["choose", "split", "strength", "model", "save"]
    page.focus("#split")
    page.keyboard.press("Home")
    cut = "() => document.getElementById('stage').style.getPropertyValue('--split')"
    assert page.evaluate(cut) == "0%"
    page.keyboard.press("ArrowRight")
    assert page.evaluate(cut) == "1%"


def test_a_served_page_leaves_nothing_in_the_browser(page: Page, photo: Path) -> None:
    choose(page, photo)
    registered = "async () => (await navigator.serviceWorker.getRegistrations()).length"
    assert page.evaluate(registered) == 0
    assert page.evaluate("() => caches.keys()") == []
    assert "while the command" in page.evaluate(
        "() => document.querySelector('#offline').textContent"
    )


def test_a_new_worker_draws_the_photo_after_the_old_one_has_ended(
    context: BrowserContext, served: PageServer, photo: Path
) -> None:
    page = context.new_page()
    page.add_init_script(
        """window.workers = [];
        window.Worker = class extends Worker {
            constructor(...given) { super(...given); window.workers.push(this); }
        };"""
    )
    page.goto(served.url)
    page.wait_for_selector(READY, timeout=LIMIT_MS)
    page.evaluate(
        "() => workers.at(-1).dispatchEvent(new ErrorEvent('error', { message: 'out of memory' }))"
    )
    choose(page, photo)
    assert page.evaluate("() => workers.length") == 2


def test_a_photo_that_the_browser_cannot_draw_is_said(page: Page, photo: Path) -> None:
    choose(page, photo)
    # A canvas that is too large draws nothing, and says nothing.
    page.evaluate("() => { CanvasRenderingContext2D.prototype.fillRect = () => {}; }")
    page.set_input_files("#choose", photo)
    page.wait_for_selector("body[data-state=failed]", timeout=LIMIT_MS)
    assert "320 x 240 pixels, more than this browser can draw" in page.inner_text("#error")
    assert page.locator("#save").is_disabled()


def test_an_exported_site_works_offline_once_it_was_loaded(
    context: BrowserContext, exported: tuple[Path, str], photo: Path
) -> None:
    page = opened(context, exported[1])
    choose(page, photo)
    before = on_the_page(page)
    page.context.set_offline(True)
    page.reload()
    page.wait_for_selector(READY, timeout=LIMIT_MS)
    choose(page, photo)
    assert np.array_equal(on_the_page(page), before)


def test_a_file_that_is_no_photo_and_a_device_that_is_not_there_are_said(
    page: Page, photo: Path, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong.jpg"
    wrong.write_bytes(b"no photo")
    page.set_input_files("#choose", wrong)
    page.wait_for_selector("body[data-state=failed]")
    assert "choose a JPEG, PNG or WebP" in page.inner_text("#error")
    page.select_option("#device", "npu")
    page.wait_for_selector("text=no WebNN", timeout=LIMIT_MS)
    page.select_option("#device", "cpu")
    page.wait_for_selector(READY, timeout=LIMIT_MS)
    choose(page, photo)
    assert not page.locator("#error").is_visible()


def test_another_model_does_not_stop_the_reading_of_a_photo(page: Page, photo: Path) -> None:
    page.evaluate(
        """() => {
            const read = createImageBitmap;
            const asked = new Promise((resolve) => { window.goOn = resolve; });
            window.createImageBitmap = async (...given) => { await asked; return read(...given); };
        }"""
    )
    page.set_input_files("#choose", photo)
    page.wait_for_selector("body[data-state=working]")
    with page.expect_response("**/models/*"):
        page.select_option("#model", "1")
    page.wait_for_function("() => document.querySelector('#details').textContent.includes('int8')")
    page.evaluate("() => window.goOn()")
    page.wait_for_selector(RENDERED, timeout=LIMIT_MS)
    assert saved(page)[0] == f"{photo.stem}.bokeh.jpg"


def test_nothing_is_saved_until_the_other_model_has_drawn(page: Page, photo: Path) -> None:
    choose(page, photo)
    page.fill("#strength", "50")
    page.evaluate(
        """() => {
            document.getElementById("model").value = "1";
            document.getElementById("model").dispatchEvent(new Event("change"));
            document.getElementById("save").click();
        }"""
    )
    page.wait_for_selector(RENDERED, timeout=LIMIT_MS)
    assert not page.locator("#error").is_visible()


class PlainHost(http.server.SimpleHTTPRequestHandler):
    """A host of static files, which sends no headers of its own."""

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def exported(small_files: dict[str, Path], tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """An exported site of one model, its folder and its address at a plain host."""
    need_pages()
    folder = tmp_path / "site"
    export_site([small_files["float16"]], folder)
    handler = functools.partial(PlainHost, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as host:
        threading.Thread(target=host.serve_forever, daemon=True).start()
        yield folder, f"http://localhost:{host.server_address[1]}/"
        host.shutdown()


def opened(context: BrowserContext, address: str) -> Page:
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector(READY, timeout=LIMIT_MS)
    return page


def test_an_exported_site_has_threads_on_a_host_without_headers(
    context: BrowserContext, exported: tuple[Path, str], small_files: dict[str, Path], photo: Path
) -> None:
    page = opened(context, exported[1])
    choose(page, photo)
    assert page.evaluate("() => crossOriginIsolated")
    off = np.abs(on_the_page(page) - by_python(small_files["float16"], photo))
    assert off.max() <= 2


def test_a_photo_that_was_chosen_is_not_lost_to_the_reload_for_threads(
    context: BrowserContext, exported: tuple[Path, str], photo: Path
) -> None:
    page = context.new_page()
    page.goto(exported[1], wait_until="domcontentloaded")
    page.set_input_files("#choose", photo)
    page.wait_for_selector(RENDERED, timeout=LIMIT_MS)
    assert not page.evaluate("() => crossOriginIsolated")


def test_an_open_page_stays_with_its_version_of_the_site(
    context: BrowserContext, exported: tuple[Path, str], small_files: dict[str, Path], photo: Path
) -> None:
    folder, address = exported
    page = opened(context, address)
    choose(page, photo)
    export_site([small_files["int8"]], folder)
    page.evaluate("async () => (await navigator.serviceWorker.getRegistration()).update()")
    waiting = "async () => Boolean((await navigator.serviceWorker.getRegistration()).waiting)"
    page.wait_for_function(waiting, timeout=LIMIT_MS)
    page.select_option("#device", "cpu")
    page.wait_for_selector(RENDERED, timeout=LIMIT_MS)
    off = np.abs(on_the_page(page) - by_python(small_files["float16"], photo))
    assert off.max() <= 2
    page.close()
    page = opened(context, address)
    page.wait_for_function("() => document.querySelector('#model').textContent.includes('int8')")
    kept = page.evaluate("() => caches.keys()")
    assert len(kept) == 1
    assert address in kept[0]


def test_the_command_serves_until_it_is_interrupted(tmp_path: Path) -> None:
    need_pages()
    program = Path(sys.executable).parent / "bokeh-render"
    running = subprocess.Popen([program, "--serve"], stderr=subprocess.PIPE, text=True)
    assert running.stderr
    lines = [running.stderr.readline() for _ in range(3)]
    assert "http://localhost:" in lines[0]
    assert lines[2] == "Ctrl-C ends it\n"
    running.send_signal(2)
    _, rest = running.communicate(timeout=60)
    assert running.returncode == 0
    assert rest == "ended\n"


def test_options_that_contradict_each_other_are_one_line(tmp_path: Path) -> None:
    for words, message in (
        (["photo.jpg", "--serve"], "photos are chosen on the page"),
        (["--serve-on", "192.168.1.2"], "give --serve"),
        (["--serve", "--json"], "--json: the page does not take it"),
        (["--export-site", "site", "--strength", "0.5"], "--strength: the page does not take it"),
        (["--serve", "--input-range", "1"], "--input-range 1: value range '1'"),
        (["--serve", "--serve-on", "0.0.0.0"], "--serve-on 0.0.0.0: give an IP address"),
        (["--serve", "--model", "missing.tflite"], "missing.tflite"),
    ):
        done = command("bokeh-render", *words, cwd=tmp_path)
        assert done.returncode == 2, done
        assert message in done.stderr
        assert done.stderr.count("\n") == 1
