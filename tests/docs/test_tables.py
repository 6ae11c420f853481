"""The documentation's tables of figures come from their JSON files."""

from __future__ import annotations

import importlib.util
import json
import math
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from bokeh_bench.cli import main as bench
from bokeh_bench.code_digest import code_digests
from bokeh_bench.doc_tables import FIGURES, MARKER, changed_code, fill, main, render
from bokeh_bench.measure.latency import LatencyRatio
from bokeh_bench.studies import (
    agreement,
    conversion,
    detail_fusion,
    gpu,
    input_noise,
    rendering,
    students,
    web,
)
from bokeh_bench.studies.result import study_data, write_json
from bokeh_bench.workers.rendering import STAGES as STAGE_NAMES
from bokeh_runtime.errors import InputError
from docs.pages import PAGES, ROOT

RATIO = LatencyRatio(1.0, 0.99, 1.01)
STAGES = dict.fromkeys(STAGE_NAMES, 12.0)
ROWS: dict[str, dict[str, Any]] = {
    "conversion": {
        "rows": [
            conversion.Row(
                "a float16", 10**6, 1, 2, 10**9, 40.1, 40, None, 0.99, 0.5, {"cortex-a76": 0.6}
            ),
            conversion.Row(
                "a int8", 10**6, 1, 2, 10**9, 30.1, 30, 29, 0.9, None, {}, held_out_photos=16
            ),
            conversion.Row(
                "a int16x8", 10**6, 1, 2, 10**9, *[None] * 5, {}, failure="INT16 != FLOAT32"
            ),
        ]
    },
    "gpu": {"rows": [gpu.GpuRow("int8", "a GPU", 5, 5, 44.0, math.inf, 45.0)]},
    "web": {
        "rows": [web.WasmRow("a", 100.0, 650.0, 1.0, 0.99, 1.01)],
        "load": [web.LoadRow("Chrome 1", "2.5.3", "40 x 30", 10**6, 4000.0)],
    },
    "input-noise": {
        "rows": [input_noise.NoiseRow("a", "cat", 48.0, 47.0, math.inf, 9.0, 50.0, 49.5, 50.5)]
    },
    "students": {
        "rows": [
            students.StudentRow(
                "t.h5", "width 0.1", 0.25, 40, 0, dict.fromkeys(students.FIDELITY, 1.5), None, 16
            ),
            students.StudentRow(
                "t.h5",
                "itself",
                1.0,
                0,
                9,
                dict.fromkeys(students.FIDELITY),
                dict.fromkeys(students.FIDELITY, 2.5),
                16,
            ),
        ]
    },
    "detail-fusion": {"rows": [detail_fusion.FusionRow("join", 1.0, 2.0, 3.0, 4.0, math.inf)]},
    "agreement-int8": {"rows": [agreement.Agreement(RATIO, RATIO, 60, 7)]},
    "rendering": {
        "rows": [rendering.RenderingRow("a.jpg", "m", 12.0, STAGES, STAGES, 12.0, 15.0, 10**9)],
        "kept": [rendering.KeptRow("a.jpg", "m", 0.5, 1.0, 0.1, 0.2, 50.0)],
    },
}


def tables(name: str, rows: dict[str, Any]) -> list[str]:
    """The tables that the study prints."""
    if name == "agreement-int8":
        return [agreement.table(rows["rows"][0])]
    if name == "web":
        return [web.table(rows["rows"], rows["load"][0])]
    if name == "rendering":
        return [rendering.table(rows["rows"]), rendering.kept_table(rows["kept"])]
    studies: dict[str, ModuleType] = {
        "conversion": conversion,
        "gpu": gpu,
        "detail-fusion": detail_fusion,
        "input-noise": input_noise,
        "students": students,
    }
    return [studies[name].table(rows["rows"])]


def test_every_table_of_a_page_is_known_and_up_to_date() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert text.count("<!-- figures:") == len(MARKER.findall(text)), page
        assert fill(text, ROOT / "docs/figures") == text, f"{page}: run `make tables`"


def test_every_table_is_shown_and_can_be_measured() -> None:
    results = (ROOT / "docs/results.md").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert {found["name"] for found in MARKER.finditer(results)} == FIGURES.keys()
    assert set(re.findall(r"^MEASURE_([a-z0-9-]+) =", makefile, re.MULTILINE)) == FIGURES.keys()
    lists = re.findall(r"^FIGURES\w* := (.*)$", makefile, re.MULTILINE)
    assert sorted(" ".join(lists).split()) == sorted(FIGURES)


def test_every_table_measures_code_that_is_there() -> None:
    digests = code_digests()
    assert all(set(figures.measures) <= digests.keys() for figures in FIGURES.values())


@pytest.mark.parametrize("name", ROWS)
def test_a_study_becomes_the_same_table_by_way_of_its_file(name: str, tmp_path: Path) -> None:
    write_json(tmp_path / f"{name}.json", study_data(name, {}, [], ROWS[name]))
    shown = render(name, tmp_path)
    assert all(table in shown for table in tables(name, ROWS[name]))
    assert f"`docs/figures/{name}.json`" in shown


def test_a_conversion_table_names_held_out_photos_and_files_that_do_not_run() -> None:
    shown = conversion.table(ROWS["conversion"]["rows"])
    assert "Quality over 16 photos that neither calibration nor search has seen." in shown
    assert "| a int16x8 | 1.00 MB | does not run |" in shown


def test_a_benchmark_report_becomes_a_table(data: Path, tmp_path: Path) -> None:
    options = ("-dcpu", "--threads=1", "--runs=5", "--seconds=0", "--no-operators")
    model = str(data / "small_float32.tflite")
    done = CliRunner().invoke(bench, [model, *options, "-o", str(tmp_path)])
    assert done.exit_code == 0, done.output
    (tmp_path / "report.json").rename(tmp_path / "shipped-models.json")
    row = json.loads((tmp_path / "shipped-models.json").read_text())["rows"][0]
    shown = render("shipped-models", tmp_path)
    latency_ms = row["latency"]["latency_ms"]
    assert f"| small_float32.tflite | cpu | 1 | {latency_ms:.1f} ms |" in shown
    assert not changed_code("shipped-models", tmp_path)


def test_a_table_without_a_file_says_what_measures_it(tmp_path: Path) -> None:
    page = "a\n<!-- figures: gpu -->\nold\n<!-- end figures -->\nb\n"
    assert fill(page, tmp_path) == (
        "a\n<!-- figures: gpu -->\n\nNot measured yet. `make figures/gpu` measures this table."
        "\n\n<!-- end figures -->\nb\n"
    )


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"environment": 1}', '{"environment": {}, "rows": 1}']
)
def test_a_damaged_file_is_an_error_that_names_the_remedy(text: str, tmp_path: Path) -> None:
    (tmp_path / "gpu.json").write_text(text)
    with pytest.raises(InputError, match="run: make figures/gpu"):
        render("gpu", tmp_path)


def test_an_unknown_table_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none: no such table; there are shipped-models"):
        fill("<!-- figures: none -->\n<!-- end figures -->", tmp_path)


def site_hooks() -> Any:
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs/site_hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_figures_that_are_older_than_the_code_are_marked_on_the_site(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks = site_hooks()
    monkeypatch.setattr(hooks, "ROOT", tmp_path)
    file = tmp_path / "docs/figures/gpu.json"
    data = study_data("gpu", {}, [], ROWS["gpu"])
    table = MARKER.fullmatch("<!-- figures: gpu -->\n<!-- end figures -->")
    write_json(file, data)
    assert hooks._noted(table) == table[0]
    data["environment"]["code"]["bokeh_convert/quantize"] = "0" * 16
    write_json(file, data)
    assert changed_code("gpu", file.parent) == ["bokeh_convert/quantize"]
    assert hooks._noted(table).endswith("since this was measured: `bokeh_convert/quantize`.*\n")
    data["environment"]["code"]["bokeh_convert/train"] = "0" * 16  # which the GPU does not run
    write_json(file, data)
    assert changed_code("gpu", file.parent) == ["bokeh_convert/quantize"]


def test_a_study_writes_what_it_prints_with_its_environment(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pairs = tmp_path / "pairs"
    pairs.mkdir()
    image = cv2.resize(rng.integers(0, 255, (8, 8, 3)).astype(np.uint8), (96, 96))
    mask = np.zeros((96, 96), np.uint8)
    mask[24:72, 24:72] = 255
    cv2.imwrite("pairs/a_sharp.jpg", image)
    cv2.imwrite("pairs/a_bokeh.jpg", cv2.blur(image, (9, 9)))
    cv2.imwrite("pairs/a_mask.png", mask)
    words = ["study", "detail-fusion", "pairs", "--output", "new/out.json"]
    done = CliRunner().invoke(bench, words)
    assert done.exit_code == 0, done.output
    found = json.loads(Path("new/out.json").read_text())
    assert found["schema"] == "bokeh-tflite/study/1"
    assert (found["study"], found["options"]) == ("detail-fusion", {"pairs": "pairs"})
    assert found["environment"]["code"] == code_digests()
    rows = [detail_fusion.FusionRow(**row) for row in found["rows"]]
    assert done.output.strip() == detail_fusion.table(rows)
    as_json = CliRunner().invoke(bench, [*words[:3], "--json"]).output
    assert json.loads(as_json)["rows"] == found["rows"]


def test_a_place_that_cannot_be_written_to_is_told_before_the_work(tmp_path: Path) -> None:
    done = CliRunner().invoke(bench, ["study", "gpu", "none.h5", "-o", str(tmp_path)])
    assert done.exit_code == 2
    assert f"{tmp_path}: is a folder" in done.output


def test_models_are_named_with_their_hashes(tmp_path: Path) -> None:
    (tmp_path / "a.tflite").write_bytes(b"abc")
    found = study_data("gpu", {"model": tmp_path / "a.tflite"}, [tmp_path / "a.tflite"], {})
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert found["models"] == [{"name": "a.tflite", "sha256": digest}]
    assert found["options"] == {"model": "a.tflite"}


def test_the_command_writes_pages_or_checks_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = Path("a.md")
    page.write_text("<!-- figures: gpu -->\n<!-- end figures -->\n")
    assert CliRunner().invoke(main, ["--check", "a.md"]).exit_code == 1
    assert "make figures" not in page.read_text()
    assert CliRunner().invoke(main, ["a.md"]).exit_code == 0
    assert "make figures/gpu" in page.read_text()
    assert CliRunner().invoke(main, ["--check", "a.md"]).exit_code == 0
    assert "none.md" in CliRunner().invoke(main, ["none.md"]).output
