from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from bokeh_bench.gates import Limits, failures, read_report, warnings
from bokeh_bench.report import SCHEMA
from bokeh_runtime.errors import InputError

STRICT = Limits(slowdown=0.05, psnr_drop_db=0.2)


@pytest.fixture
def old() -> dict[str, Any]:
    fidelity = [{"vs": "full_model", "protocol": "full", "psnr_db_mean": 45.0}]
    row = {"name": "a, cpu", "failure": "", "latency": {"latency_ms": 100.0}, "fidelity": fidelity}
    return {"schema": SCHEMA, "environment": {"cpu": "x"}, "rows": [row]}


@pytest.fixture
def new(old: dict[str, Any]) -> dict[str, Any]:
    return copy.deepcopy(old)


def test_no_change_passes(old: dict[str, Any], new: dict[str, Any]) -> None:
    new["rows"][0]["latency"]["latency_ms"] = 104.9
    new["rows"][0]["fidelity"][0]["psnr_db_mean"] = 44.81
    new["rows"].append({"name": "a new one", "failure": "does not run"})
    assert failures(old, new, STRICT) == []


def test_what_got_slower_fails(old: dict[str, Any], new: dict[str, Any]) -> None:
    new["rows"][0]["latency"]["latency_ms"] = 107.0
    (line,) = failures(old, new, STRICT)
    assert line == "a, cpu: +7.0% latency (100.0 to 107.0 ms; 5.0% allowed)"
    assert failures(old, new, Limits(None, 0.2)) == []


def test_what_got_worse_fails(old: dict[str, Any], new: dict[str, Any]) -> None:
    new["rows"][0]["fidelity"][0]["psnr_db_mean"] = 44.7
    (line,) = failures(old, new, STRICT)
    assert "PSNR against full model full: 45.00 dB, now 44.70 dB; 0.2 dB allowed" in line
    assert failures(old, new, Limits(0.05, None)) == []


def test_identical_pictures_are_the_best(old: dict[str, Any], new: dict[str, Any]) -> None:
    new["rows"][0]["fidelity"][0]["psnr_db_mean"] = None
    assert failures(old, new, STRICT) == []
    (line,) = failures(new, old, STRICT)
    assert "identical, now 45.00 dB" in line


@pytest.mark.parametrize("what", ["gone", "broken", "not compared"])
def test_what_was_measured_before_must_be_again(
    what: str, old: dict[str, Any], new: dict[str, Any]
) -> None:
    if what == "gone":
        new["rows"] = []
    elif what == "broken":
        new["rows"][0]["failure"] = "the gpu is not here"
    else:
        new["rows"][0]["fidelity"] = []
    assert len(failures(old, new, STRICT)) == 1


def test_what_failed_before_may_fail_again(old: dict[str, Any], new: dict[str, Any]) -> None:
    old["rows"][0]["failure"] = new["rows"][0]["failure"] = "no gpu"
    assert failures(old, new, STRICT) == []


def test_another_machine_is_told(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert warnings(old, new) == []
    new["environment"]["cpu"] = "y"
    assert warnings(old, new) == ["the older report is of another machine (cpu: x, now y)"]


@pytest.mark.parametrize("text", [None, "{", "[]", json.dumps({"schema": "other/1"})])
def test_a_file_that_is_no_report_is_refused(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=r"old.json: .*(report|measure)"):
        read_report(path)
