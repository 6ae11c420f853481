from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from bokeh_bench.cli import main
from helpers.models import small_model


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    path = tmp_path_factory.mktemp("bench") / "small.keras"
    small_model().save(path)
    done = CliRunner().invoke(
        main,
        [
            "study",
            "conversion",
            str(path),
            *("--size", "64x96", "--runs", "2", "--json"),
            *("--only", "bokeh-convert int8", "--only", "TFLiteConverter full-integer"),
        ],
    )
    assert done.exit_code == 0, done.output
    return {row["made_by"]: row for row in json.loads(done.stdout)["rows"]}


@pytest.mark.slow
def test_every_asked_way_has_a_row_beside_the_baseline(rows: dict[str, dict]) -> None:
    assert list(rows) == [
        "bokeh-convert float32",
        "bokeh-convert int8",
        "TFLiteConverter full-integer",
    ]


@pytest.mark.slow
def test_figures_are_measured_on_the_files(rows: dict[str, dict]) -> None:
    assert rows["bokeh-convert float32"]["latency_ratio"] == 1
    assert rows["bokeh-convert float32"]["psnr_db_mean"] > 100
    assert rows["bokeh-convert int8"]["psnr_db_mean"] < 80
    for row in rows.values():
        assert row["latency_ratio"] > 0
        assert row["size_bytes"] > 1000
        assert row["process_s"] > row["convert_s"] > 0
        assert row["peak_rss_bytes"] > 100e6  # TensorFlow alone takes that


@pytest.mark.slow
def test_an_untrained_network_can_stand_in_for_a_model() -> None:
    done = CliRunner().invoke(
        main,
        [
            "study",
            "conversion",
            *("--untrained", "0.125", "--size", "64x96", "--runs", "0", "--json"),
            *("--only", "bokeh-convert float32"),
        ],
    )
    assert done.exit_code == 0, done.output
    (row,) = json.loads(done.stdout)["rows"]
    assert row["latency_ratio"] is None


@pytest.mark.slow
def test_a_missing_model_is_exit_code_2(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["study", "conversion", str(tmp_path / "none.h5")])
    assert done.exit_code == 2
    assert "no such file" in done.output
