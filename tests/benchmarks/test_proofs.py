"""What a row says of where it ran, and what is no picture, wherever they are told."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from bokeh_bench.devices import android
from bokeh_bench.devices.arm64.measure import measure
from bokeh_bench.devices.arm64.rows import measure_arm64
from bokeh_bench.devices.arm64.runner import ArmRun
from bokeh_bench.measure import matrix
from bokeh_bench.measure.fidelity import fidelity_of
from bokeh_bench.measure.matrix import Cell, read_subject
from bokeh_bench.measure.references import Expectation, FullModel
from bokeh_bench.measure.rows import ModelFile, Report, Row
from bokeh_bench.report.console import markdown, print_report, where
from bokeh_bench.report.html import write_html
from bokeh_runtime import HardwareError, InputError, Placement
from bokeh_runtime.tflite.reference_pack import Reference
from helpers import commands

UNKNOWN = Placement("gpu", "gpu", "a GPU", None, 43, unsupported_ops=None)
PARTLY = replace(UNKNOWN, delegated_ops=40, unsupported_ops=["ADD"], reasons={"ADD": "why"})
WHOLE = replace(UNKNOWN, delegated_ops=43, unsupported_ops=[], partitions=1)


def report(placement: Placement) -> Report:
    row = Row(ModelFile("a.tflite"), "gpu", placement=placement)
    return Report("2026-01-01T00:00:00+00:00", {"cpu": "x"}, [row])


@pytest.mark.parametrize(
    ("placement", "share", "left"),
    [
        (UNKNOWN, "unknown of 43", "unknown"),
        (PARTLY, "40 of 43", "ADD (why)"),
        (WHOLE, "43 of 43", None),
    ],
)
def test_where_a_row_ran_is_told_alike_everywhere(
    placement: Placement, share: str, left: str | None, tmp_path: Path
) -> None:
    told = report(placement)
    expected = ["ran on a GPU"] + ([f"left to the CPU: {left}"] if left else [])
    assert where(told.rows[0]) == expected
    assert f"| {share} |" in markdown(told)
    with (tmp_path / "console").open("w") as file:
        print_report(told, Console(file=file, width=120))
    assert share in (tmp_path / "console").read_text()
    write_html(tmp_path / "report.html", told)
    page = (tmp_path / "report.html").read_text()
    assert f"{share} operators" in page
    assert page.count("left to the CPU") == bool(left)
    assert "None" not in page
    data = json.loads(json.dumps(told.to_data(), allow_nan=False))["rows"][0]["placement"]
    assert (data["delegated_ops"], data["unsupported_ops"]) == (
        placement.delegated_ops,
        placement.unsupported_ops,
    )


def broken(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def one_value(picture: np.ndarray) -> np.ndarray:
        picture = picture.copy()
        picture[3, 5, 1] = value
        return picture

    return one_value


NOT_FINITE = [np.nan, np.inf, -np.inf]


@pytest.mark.parametrize("value", NOT_FINITE)
@pytest.mark.parametrize("vs", ["full_model", "ground_truth"])
def test_a_picture_that_is_not_finite_has_no_fidelity(
    value: float, vs: str, rng: np.random.Generator
) -> None:
    wanted = rng.random((40, 40, 3), np.float32)
    expectation = Expectation("a photo", (wanted * 255).astype(np.uint8), wanted)
    with pytest.raises(InputError, match="draws NaN or infinity for a photo"):
        fidelity_of(vs, iter([(expectation, broken(value)(wanted))]))


class Shown:
    """A measurement's process that draws what it is told."""

    picture: Callable[[np.ndarray], np.ndarray]

    def __init__(self, *_: object) -> None:
        pass

    def ask(self, do: str, **how: Any) -> dict[str, Any]:
        if do == "draw":
            pictures = np.load(how["inputs"]).astype(np.float32) / 255
            np.save(how["outputs"], [type(self).picture(one) for one in pictures])
        return {
            "open": {"load_ms": 1.0, "placement": asdict(WHOLE)},
            "warm_up": {"first_inference_ms": 2.0, "warm_up_runs": 2},
            "time": {"runs_ms": [2.0] * 5, "temperature_c": None, "peak_rss_bytes": 1},
            "draw": {},
        }[do]

    def __enter__(self) -> Shown:
        return self

    def __exit__(self, *error: object) -> None:
        pass


@pytest.mark.parametrize("value", NOT_FINITE)
def test_a_row_whose_pictures_are_not_finite_fails_and_the_next_is_measured(
    value: float, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matrix, "Worker", Shown)
    settings = matrix.Settings(5, 0, FullModel(None, None, None, print), operators=False)
    cells = [Cell(data / "small_float16.tflite", "cpu", 1)] * 2
    rows = matrix.measure(cells, settings, print)
    monkeypatch.setattr(Shown, "picture", staticmethod(broken(value)), raising=False)
    first = next(rows)
    monkeypatch.setattr(Shown, "picture", staticmethod(lambda picture: picture))
    second = next(rows)
    assert first.failure.startswith("draws NaN or infinity for ")
    assert (first.failure_kind, first.fidelity) == ("input", ())
    assert second.failure == ""
    assert len(second.fidelity) == 1


@pytest.mark.parametrize("value", NOT_FINITE)
def test_on_a_phones_kernels_too(
    value: float, tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def __init__(self, *_: object) -> None:
            pass

        def run(self, _: bytes, inputs: np.ndarray) -> ArmRun:
            return ArmRun(np.stack([broken(value)(one / np.float32(255)) for one in inputs]), 100)

    photos = [np.zeros((64, 96, 3), np.uint8)] * 2
    pack = Reference(["a", "b"], photos, [np.zeros((64, 96, 3), np.float32)] * 2)
    (tmp_path / "a.tflite").write_bytes(b"any")
    with pytest.raises(InputError, match=r"a\.tflite: draws NaN or infinity on cortex-a76"):
        measure([tmp_path / "a.tflite"], pack, Broken(), print)
    monkeypatch.setattr("bokeh_bench.devices.arm64.rows.ArmRunner", Broken)
    full_model = FullModel(None, None, None, print)
    (row,) = measure_arm64([data / "small_float16.tflite"], full_model, print)
    assert row.failure.startswith("draws NaN or infinity for ")


# What the phone answers.


@pytest.fixture
def answer(data: Path, tmp_path: Path) -> Callable[..., list[Row]]:
    """Reads an answer of one row on the GPU, changed by what is given."""
    path = data / "small_float16.tflite"
    subject = read_subject(path, FullModel(None, None, None, print))
    pictures = np.stack([one.wanted for one in subject.expectations]).astype("<f4")

    def read(*, outputs: np.ndarray | None = pictures, **placement: Any) -> list[Row]:
        row: dict[str, Any] = {
            "failure": "", "load_ms": 1.0, "first_inference_ms": 2.0, "warm_up_runs": 2,
            "runs_ms": [2.0] * 5, "outputs": None,
            "placement": {"requested": "gpu", "delegate": "gpu", "device": "a GPU",
                          "delegated_ops": 43, "total_ops": 43, "unsupported_ops": [],
                          "notes": [], **placement},
        }  # fmt: skip
        if outputs is not None:
            outputs.tofile(tmp_path / "0.f32")
            row |= {"outputs": "0.f32", "output_shape": list(outputs.shape)}
        result = {"schema": android.RESULT_SCHEMA, "environment": {}, "rows": [row]}
        (tmp_path / "result.json").write_text(json.dumps(result))
        _, rows = android._read_result(tmp_path, "X1", [Cell(path, "gpu", None)], {path: subject})
        return rows

    return read


def test_an_unknown_share_of_a_phone_stays_unknown(answer: Callable[..., list[Row]]) -> None:
    (row,) = answer(delegated_ops=None, unsupported_ops=None)
    assert row.placement is not None
    assert (row.placement.share, row.placement.unsupported_text) == ("unknown of 43", "unknown")
    assert len(row.fidelity) == 1


@pytest.mark.parametrize(
    "contradiction", [{"delegated_ops": 44}, {"delegated_ops": -1}, {"delegate": "cpu"}]
)
def test_a_phone_that_contradicts_itself_is_not_believed(
    contradiction: dict[str, Any], answer: Callable[..., list[Row]]
) -> None:
    with pytest.raises(HardwareError, match="the result of X1 cannot be read"):
        answer(**contradiction)


@pytest.mark.parametrize("value", NOT_FINITE)
def test_a_phones_picture_that_is_not_finite_is_a_row_with_the_reason(
    value: float, answer: Callable[..., list[Row]]
) -> None:
    pictures = np.full((2, 64, 96, 3), value, "<f4")
    (row,) = answer(outputs=np.concatenate([pictures, pictures]))
    assert row.failure.startswith("draws NaN or infinity for ")


HANG = "sleep 100000 & wait"


def bench_with_adb(folder: Path, data: Path, **hangs: str) -> subprocess.CompletedProcess[str]:
    """Runs with an adb that answers as a phone's, and does what is given at a word."""
    here = folder / "programs"
    here.mkdir()
    cases = "\n".join(f"  *'{word.replace('_', ' ')}'*) {does};;" for word, does in hangs.items())
    (here / "adb").write_text(
        f'#!/bin/sh\ncase "$*" in\n{cases}\n'
        "  devices) printf 'List of devices attached\\nX1\\tdevice\\n';;\n"
        "  *'pm path'*) echo package:/data/app/base.apk;;\n"
        "  *pidof*) echo 1234;;\n"
        "esac\n"
    )
    (here / "adb").chmod(0o755)
    model = data / "small_float16.tflite"
    asked = (model, "-dcpu,gpu", "--device=android", "--timeout=4", "--runs=5", "--seconds=0")
    path = f"{here}:/usr/bin:/bin"
    return commands.command("bokeh-bench", *asked, cwd=folder, PATH=path)


@pytest.mark.parametrize("word", ["mkdir", "push", "am_start", "status.json", "pidof"])
def test_an_adb_that_hangs_is_a_row_with_the_reason(word: str, data: Path, tmp_path: Path) -> None:
    done = bench_with_adb(tmp_path, data, **{word: HANG})
    assert done.returncode == 3, done.stderr
    rows = json.loads((tmp_path / "bench/report.json").read_text())["rows"]
    assert [row["failure_kind"] for row in rows] == ["hardware"] * 2
    program = "push" if word == "push" else "shell"
    for row in rows:
        assert row["failure"].startswith(f"android: adb {program} did not end within 4 s; check")


def test_a_phone_that_hangs_at_the_end_is_a_row_with_the_reason(data: Path, tmp_path: Path) -> None:
    done = bench_with_adb(
        tmp_path, data, **{"status.json": "echo '{\"finished\": true}'", "pull": HANG, "rm": HANG}
    )
    assert done.returncode == 3, done.stderr
    rows = json.loads((tmp_path / "bench/report.json").read_text())["rows"]
    assert [row["failure"].partition(";")[0] for row in rows] == [
        "android: adb pull did not end within 4 s"
    ] * 2


def test_an_app_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent:
        serial = "X1"

        def shell(self, command: str) -> str:
            return "1234" if "pidof" in command else '["not a state"]'

    monkeypatch.setattr(android, "_POLL_SECONDS", 0.05)
    why = android._wait(Silent(), "/x", 0.5, lambda what: None)
    assert why.startswith("android: X1 said nothing for ")
    assert why.endswith("or give more with --timeout")


def test_an_adb_that_hangs_before_a_phone_is_known_is_exit_code_3(
    data: Path, tmp_path: Path
) -> None:
    done = bench_with_adb(tmp_path, data, devices=HANG)
    assert done.returncode == 3
    assert "android: adb devices did not end within 4 s" in done.stderr
