"""`bokeh-bench --device web` with real browsers, Chromium and Firefox, without a window."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from helpers.browsers import DESK, INSECURE_HOST, LIMIT_SECONDS, PHONE, bench
from helpers.schemas import check_format

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

pytestmark = pytest.mark.slow
DONE = "text=The report is on the computer"


def finish(page: Page, url: str) -> None:
    page.goto(url)
    page.wait_for_selector(DONE, timeout=LIMIT_SECONDS * 1000)


def rows(report: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """By scheme and delegate, with "-fp16" for half precision."""
    found = {}
    for row in report["rows"]:
        scheme = Path(row["model"]["name"]).stem.removeprefix("small_")
        half = "-fp16" if row["device"].endswith("fp16") else ""
        found[scheme, row["delegate"] + half] = row
    return found


def on_this_machine(path: Path) -> float:
    """Mean PSNR to the full model with Python's interpreter."""
    import numpy as np

    from bokeh_runtime import BokehModel
    from bokeh_runtime.imaging.photo import to_unit
    from bokeh_runtime.metrics.psnr import psnr
    from bokeh_runtime.tflite.reference_pack import load_reference

    pack = load_reference(path.with_name("small.reference.npz"))
    with BokehModel.open(path, "cpu") as model:
        outputs = [np.clip(model.engine.run(to_unit(one)), 0, 1) for one in pack.inputs]
    pairs = zip(outputs, pack.outputs, strict=True)
    return float(np.mean([psnr(output, full, border_px=0) for output, full in pairs]))


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_wasm_runs_every_scheme_and_sends_what_python_computes(
    small_files: dict[str, Path], tmp_path: Path, browser: Browser, size: Any
) -> None:
    files = [small_files[scheme] for scheme in ("float16", "int8", "full-integer")]
    with bench(tmp_path, *files, "-d", "cpu") as running:
        context = browser.new_context(viewport=size)
        page = context.new_page()
        finish(page, running.url)
        width = page.evaluate("() => [document.documentElement.scrollWidth, window.innerWidth]")
        assert width[0] <= width[1]
        assert len(page.query_selector_all("li[data-state=done]")) == 3
        context.close()
        report = running.report()
    assert running.process.returncode == 0, running.stderr
    check_format(report)
    found = rows(report)
    for scheme, path in small_files.items():
        if (scheme, "cpu") in found:
            ours = found[scheme, "cpu"]["fidelity"][0]
            # wasm rounds otherwise than this machine, and the float16 file to nothing visible.
            assert ours["psnr_db_mean"] == pytest.approx(on_this_machine(path), abs=1.0)
    for row in found.values():
        assert row["failure"] == ""
        assert len(row["latency"]["runs_ms"]) >= 5
        assert row["placement"]["device"].startswith("wasm (relaxed SIMD), ")
        assert row["placement"]["delegated_ops"] is None
        assert row["device"].startswith("Chrome ")
    about = report["environment"]["browsers"][report["rows"][0]["device"]]
    assert about["cross_origin_isolated"] is True


def test_webgpu_draws_the_picture_in_both_precisions_and_names_what_it_does_not_take(
    small_files: dict[str, Path], tmp_path: Path, browser: Browser
) -> None:
    files = [small_files["float16"], small_files["int16x8"]]
    with bench(tmp_path, *files, "-d", "auto,gpu,npu") as running:
        page = browser.new_page()
        finish(page, running.url)
        page.close()
        report = running.report()
    assert running.process.returncode == 1
    check_format(report)
    found = rows(report)
    whole = found["float16", "gpu"]
    assert whole["failure"] == ""
    assert whole["placement"]["delegated_ops"] == whole["placement"]["total_ops"]
    assert "swiftshader" in whole["placement"]["device"].lower()
    psnr = {
        key: row["fidelity"][0]["psnr_db_mean"] for key, row in found.items() if row["fidelity"]
    }
    assert psnr["float16", "gpu"] > 80
    assert 50 < psnr["float16", "gpu-fp16"] <= psnr["float16", "gpu"]
    assert found["float16", "auto"]["placement"]["delegate"] == "gpu"
    refused = found["int16x8", "gpu"]["failure"]
    assert refused.startswith("WebGPU does not run the whole model (CONV_2D: ")
    instead = found["int16x8", "auto"]
    assert instead["placement"]["delegate"] == "cpu"
    assert any("gpu: WebGPU does not run the whole" in note for note in instead["notes"])
    for precision in ("npu", "npu-fp16"):
        assert "no WebNN" in found["float16", precision]["failure"]


def test_without_a_secure_context_there_is_one_thread_and_no_gpu(
    small_files: dict[str, Path], tmp_path: Path, browser: Browser
) -> None:
    with bench(tmp_path, small_files["float16"], "-d", "cpu,gpu") as running:
        page = browser.new_page()
        finish(page, running.url.replace("localhost", INSECURE_HOST))
        page.close()
        report = running.report()
    found = rows(report)
    assert found["float16", "cpu"]["placement"]["device"].endswith("1 thread")
    assert any("not cross-origin isolated" in note for note in found["float16", "cpu"]["notes"])
    assert "--serve-on" in found["float16", "gpu"]["failure"]
    assert found["float16", "gpu"]["failure_kind"] == "hardware"


def test_threads_that_were_asked_for_need_isolation(
    small_files: dict[str, Path], tmp_path: Path, browser: Browser
) -> None:
    def without_headers(route: Route) -> None:
        answer = route.fetch()
        kept = {k: v for k, v in answer.headers.items() if not k.startswith("cross-origin")}
        route.fulfill(response=answer, headers=kept)

    with bench(tmp_path, small_files["int8"], "-d", "cpu", "--threads", "1,2") as running:
        page = browser.new_page()
        page.route("**/*", without_headers)
        finish(page, running.url)
        page.close()
        one, two = running.report()["rows"]
    assert one["failure"] == ""
    assert "2 threads: the page is not cross-origin isolated" in two["failure"]


def test_a_closed_tab_is_a_reason(
    small_files: dict[str, Path], tmp_path: Path, browser: Browser
) -> None:
    with bench(tmp_path, small_files["int8"], "-d", "cpu", "--seconds", "60") as running:
        page = browser.new_page()
        page.goto(running.url)
        page.wait_for_selector("text=timing", timeout=LIMIT_SECONDS * 1000)
        page.close(run_before_unload=False)
        (row,) = running.report()["rows"]
    assert running.process.returncode == 3
    assert "the page was closed; open the address again" in row["failure"]


def test_a_truncated_model_and_a_damaged_upload_are_reasons(
    small_files: dict[str, Path], tmp_path: Path, browser: Browser
) -> None:
    def half(route: Route) -> None:
        body = route.fetch().body()
        route.fulfill(body=body[: len(body) // 2])

    def short(route: Route) -> None:
        data = route.request.post_data_buffer
        assert data
        route.continue_(post_data=data[:-4])

    files = [small_files["float16"], small_files["int8"]]
    with bench(tmp_path, *files, "-d", "cpu") as running:
        page = browser.new_page()
        page.route("**/models/0.tflite", half)
        page.route("**/api/outputs*", short)
        finish(page, running.url)
        page.close()
        cut, sent = running.report()["rows"]
    assert cut["failure"]
    assert cut["failure_kind"] == "hardware"
    assert "bytes instead of" in sent["failure"]


def test_a_wrong_token_says_what_to_do(
    small_files: dict[str, Path], tmp_path: Path, browser: Browser
) -> None:
    with bench(tmp_path, small_files["int8"], "-d", "cpu") as running:
        page = browser.new_page()
        answer = page.goto(running.url.replace(urlsplit(running.url).path, "/x/"))
        assert answer
        assert answer.status == 403
        assert "in the computer's terminal" in page.inner_text("body")
        page.close()


def test_two_browsers_have_their_rows_each(
    small_files: dict[str, Path], tmp_path: Path, browser: Browser
) -> None:
    with bench(tmp_path, small_files["int8"], "-d", "cpu", "--device", "web:2") as running:
        for _ in range(2):
            page = browser.new_page()
            finish(page, running.url)
        report = running.report()
    devices = [row["device"] for row in report["rows"]]
    assert len(devices) == 2
    assert devices[1] == f"{devices[0]} #2"
    assert running.process.returncode == 0


def test_firefox_runs_wasm(small_files: dict[str, Path], tmp_path: Path) -> None:
    program = shutil.which("firefox-esr") or shutil.which("firefox")
    if program is None:
        pytest.skip("no Firefox")
    profile = tmp_path / "profile"
    profile.mkdir()
    (profile / "user.js").write_text(
        'user_pref("browser.shell.checkDefaultBrowser", false);\n'
        'user_pref("datareporting.policy.dataSubmissionEnabled", false);\n'
        'user_pref("app.update.enabled", false);\n'
        'user_pref("network.captive-portal-service.enabled", false);\n'
        'user_pref("network.connectivity-service.enabled", false);\n'
    )
    files = [small_files["float16"], small_files["full-integer"]]
    with bench(tmp_path, *files, "-d", "cpu") as running:
        command = [program, "--headless", "--no-remote", "--profile", str(profile), running.url]
        firefox = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            report = running.report()
        finally:
            firefox.kill()
            firefox.wait()
    assert running.process.returncode == 0, running.stderr
    for row in report["rows"]:
        assert row["device"].startswith("Firefox ")
        assert row["fidelity"][0]["psnr_db_mean"] > 30
