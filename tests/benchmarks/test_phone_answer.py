"""What a hostile phone may answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bokeh_bench.devices.android.phone_answer import check_row, read_answer


def _row(**changed: Any) -> dict[str, Any]:
    return {
        "failure": "", "placement": {}, "load_ms": 1.0, "first_inference_ms": 2.0,
        "warm_up_runs": 1, "runs_ms": [3.0, 4], "peak_rss_bytes": None,
        "temperature_c": [30.0, None], "outputs": "0.f32", "output_shape": [1, 2, 2, 3],
        "notes": ["a note"], **changed,
    }  # fmt: skip


def _read(folder: Path, answer: Any) -> dict[str, Any]:
    text = answer if isinstance(answer, str) else json.dumps(answer)
    (folder / "result.json").write_text(text)
    read = read_answer(folder / "result.json")
    for row in read.get("rows", []):
        check_row(row, folder)
    return read


def test_an_answer_by_the_contract_is_read(tmp_path: Path) -> None:
    answer = {"schema": "x", "rows": [_row(), {"failure": "no GPU"}]}
    assert _read(tmp_path, answer) == answer


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/b", "..", "link", 7, ["0.f32"]])
def test_an_answer_names_no_file_of_this_machine(name: Any, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(ValueError, match="outputs is"):
        _read(tmp_path, {"rows": [_row(outputs=name)]})


@pytest.mark.parametrize(
    "changed",
    [
        {"runs_ms": [10**400]}, {"load_ms": 10**400}, {"peak_rss_bytes": 10**400},
        {"runs_ms": []}, {"runs_ms": ["1"]}, {"runs_ms": [-1.0]}, {"runs_ms": 3.0},
        {"load_ms": None}, {"load_ms": True}, {"warm_up_runs": "1"}, {"placement": []},
        {"failure": 7}, {"output_shape": [-1]}, {"output_shape": "1"}, {"notes": [1]},
        {"temperature_c": ["hot"]}, {"peak_rss_bytes": "1"}, {"notes": "a note"},
        *(
            {"placement": placement}
            for placement in (
                {"delegate": 7}, {"total_ops": -1}, {"total_ops": None}, {"delegated_ops": "38"},
                {"delegated_ops": 1.5}, {"unsupported_ops": 3}, {"unsupported_ops": [3]},
                {"reasons": []}, {"reasons": {"ADD": 3}}, {"notes": "text"}, {"precision": None},
            )
        ),
    ],
)  # fmt: skip
def test_what_is_no_measurement_is_refused(changed: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"{next(iter(changed))}( \w+)? is"):
        _read(tmp_path, {"rows": [_row(**changed)]})


def test_times_of_a_clock_that_is_too_coarse_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the clock is too coarse"):
        _read(tmp_path, {"rows": [_row(runs_ms=[0, 0, 100])]})


@pytest.mark.parametrize(
    "text",
    ["[]", "7", "null", '{"rows": [7]}', '{"x": NaN}', '{"x": [1e999]}', "[" * 100_000, "{"],
)
def test_what_is_no_answer_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"."):
        _read(tmp_path, text)


def test_no_control_character_reaches_the_terminal(tmp_path: Path) -> None:
    answer = {"environment": {"\x1b[2J": "a\x1b]0;owned\x07b\n"}, "rows": [{"failure": "\x1b[31m"}]}
    read = _read(tmp_path, answer)
    assert read["environment"] == {"\\x1b[2J": "a\\x1b]0;owned\\x07b\\n"}
    assert read["rows"][0]["failure"] == "\\x1b[31m"
