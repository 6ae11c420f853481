"""The reports of `bokeh-render` and `bokeh-bench` are of the formats that they name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import ValidationError
from PIL import Image

from helpers import commands
from helpers.schemas import check_format

NO_GPU = {"VK_ICD_FILENAMES": "/none"}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A folder with a photo, one that is up to date, one that changed, and a damaged file."""
    folder = tmp_path_factory.mktemp("render")
    noise = np.random.default_rng(3).integers(0, 256, (40, 60, 3), np.uint8)
    (folder / "photos").mkdir()
    for name in ("same.png", "changed.png"):
        Image.fromarray(noise).save(folder / "photos" / name)
    model = Path(__file__).parents[1] / "data/small_float32.tflite"
    words = ("bokeh-render", "photos", "-m", model, "-d", "cpu", "-o", "out", "--json")
    assert commands.command(*words, cwd=folder).returncode == 0
    Image.fromarray(noise[:30]).save(folder / "photos/changed.png")
    (folder / "photos/damaged.png").write_text("no photo")
    done = commands.command(*words, cwd=folder)
    assert done.returncode == 1, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Two models on the CPU, taking turns, and on a GPU that is not there."""
    folder = tmp_path_factory.mktemp("bench")
    data = Path(__file__).parents[1] / "data"
    done = commands.command(
        "bokeh-bench", data / "small_float32.tflite", data / "small_int8.tflite", "-dcpu,gpu",
        "--runs=5", "--seconds=0", "--json", cwd=folder, **NO_GPU,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_a_render_report_is_valid(rendered: dict[str, Any]) -> None:
    check_format(rendered)
    assert rendered["photos"]
    assert rendered["failures"]
    assert rendered["up_to_date"] == 1
    assert rendered["rerendered"]


@pytest.mark.slow
def test_a_benchmark_report_is_valid(measured: dict[str, Any]) -> None:
    check_format(measured)
    failures = [row["failure"] for row in measured["rows"]]
    assert any(failures)
    assert not all(failures)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rendered", "measured"])
def test_a_report_that_lacks_a_key_or_has_an_old_one_is_refused(
    name: str, request: pytest.FixtureRequest
) -> None:
    report = request.getfixturevalue(name)
    for key in set(report) - {"schema"}:
        with pytest.raises(ValidationError, match=f"'{key}' is a required property"):
            check_format({other: value for other, value in report.items() if other != key})
    placements = [row["placement"] for row in report.get("rows", [report]) if row["placement"]]
    for placement in placements:
        placement["nodes_placed"] = placement.pop("delegated_ops")
        with pytest.raises(ValidationError):
            check_format(report)
        placement["delegated_ops"] = placement.pop("nodes_placed")
    check_format(report)
