from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from bokeh_bench.__main__ import main
from helpers.models import small_model

# What TensorFlow's own converter remarks on the call that its guides recommend.
pytestmark = pytest.mark.filterwarnings("ignore:Statistics for quantized inputs")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    path = tmp_path_factory.mktemp("bench") / "small.keras"
    small_model().save(path)
    done = CliRunner().invoke(
        main, ["conversion", str(path), "--size", "64x96", "--runs", "2", "--json"]
    )
    assert done.exit_code == 0, done.output
    return {row["made_by"]: row for row in json.loads(done.stdout)["rows"]}


def test_every_way_of_converting_has_a_row(rows: dict[str, dict]) -> None:
    assert list(rows) == [
        "bokeh-convert float32",
        "bokeh-convert float16",
        "bokeh-convert dynamic",
        "bokeh-convert int8",
        "TFLiteConverter float16",
        "TFLiteConverter dynamic",
        "TFLiteConverter int8",
    ]


def test_figures_are_measured_on_the_files(rows: dict[str, dict]) -> None:
    assert rows["bokeh-convert float32"]["latency_ratio"] == 1
    assert rows["bokeh-convert float32"]["psnr_db_mean"] > 100
    assert rows["bokeh-convert float16"]["psnr_db_mean"] > 60
    assert (
        rows["bokeh-convert int8"]["psnr_db_mean"] < rows["bokeh-convert float16"]["psnr_db_mean"]
    )
    assert all(row["latency_ratio"] > 0 and row["size_bytes"] > 1000 for row in rows.values())


def test_a_missing_model_is_exit_code_2(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["conversion", str(tmp_path / "none.h5")])
    assert done.exit_code == 2
    assert "no such file" in done.output
