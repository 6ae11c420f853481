"""The study of wasm beside native code, with a small network."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bokeh_bench.studies.web import LoadRow, WasmRow, measure, table
from bokeh_runtime.errors import HardwareError
from helpers.browsers import need_pages


@pytest.mark.slow
def test_it_compares_and_counts(small_files: dict[str, Path]) -> None:
    need_pages()
    if shutil.which("chromium") is None:
        pytest.skip("no browser")
    models = [small_files["float16"], small_files["int8"]]
    rows, load = measure(models, "chromium", 5, 1, lambda _: None)
    assert [row.model for row in rows] == [path.name for path in models]
    for row in rows:
        assert row.native_ms > 0
        assert row.wasm_ms > 0
        assert row.overhead_low <= row.overhead <= row.overhead_high
    # A program of LiteRT.js, compressed, and little else.
    assert 2e6 < load.loaded_bytes < 4e6
    assert load.first_picture_ms > 0
    assert load.browser.startswith("Chrome ")


def test_the_table_has_the_ratio() -> None:
    rows = [WasmRow("a.tflite", 100.0, 650.0, 1.004, 0.99, 1.01)]
    shown = table(rows, LoadRow("Chrome 1 on Linux", "2.5.3", "40 x 30", 6_300_000, 4200.0))
    assert "| a.tflite | 100.0 ms | 650.0 ms | 6.5 | 1.004 | 0.990 to 1.010 |" in shown
    assert "4.2 s" in shown
    assert "6.3 MB" in shown


def test_a_browser_that_is_not_there_is_an_error() -> None:
    with pytest.raises(HardwareError, match="no-such-browser is not installed"):
        measure([], "no-such-browser", 5, 1, lambda _: None)
