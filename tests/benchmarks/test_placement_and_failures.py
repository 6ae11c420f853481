"""Placement in the report, and rows that fail: outputs that are not finite, phones that hang."""

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

from bokeh_bench.devices.android import measure as android
from bokeh_bench.devices.arm64.measure import measure
from bokeh_bench.devices.arm64.profiles import DEFAULT_PROFILE
from bokeh_bench.devices.arm64.rows import measure_arm64
from bokeh_bench.devices.arm64.runner import ArmRun
from bokeh_bench.measure import host
from bokeh_bench.measure.cases import BenchmarkCase, read_model_under_test
from bokeh_bench.measure.fidelity import measure_fidelity
from bokeh_bench.measure.references import FullModelReferences, ReferenceSample
from bokeh_bench.measure.rows import ModelFile, Report, Row
from bokeh_bench.report.console import markdown, placement_lines, print_report
from bokeh_bench.report.html import write_html
from bokeh_runtime import InputError, Placement
from bokeh_runtime.tflite.reference_pack import Reference
from bokeh_runtime.tflite.value_range import UNIT_RANGES, ImageRanges
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
def test_every_output_reports_the_same_placement(
    placement: Placement, share: str, left: str | None, tmp_path: Path
) -> None:
    written = report(placement)
    expected = ["ran on a GPU"] + ([f"unsupported ops (run on the CPU): {left}"] if left else [])
    assert placement_lines(written.rows[0]) == expected
    assert f"| {share} |" in markdown(written)
    with (tmp_path / "console").open("w") as file:
        print_report(written, Console(file=file, width=120))
    assert share in (tmp_path / "console").read_text()
    write_html(tmp_path / "report.html", written)
    page = (tmp_path / "report.html").read_text()
    assert f"{share} ops delegated" in page
    assert page.count("on the CPU)") == bool(left)
    assert "None" not in page
    data = json.loads(json.dumps(written.to_data(), allow_nan=False))["rows"][0]["placement"]
    assert (data["delegated_ops"], data["unsupported_ops"]) == (
        placement.delegated_ops,
        placement.unsupported_ops,
    )


def broken(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def one_value(image: np.ndarray) -> np.ndarray:
        image = image.copy()
        image[3, 5, 1] = value
        return image

    return one_value


NOT_FINITE_REMEDY = "contains NaN or infinity; convert the model again, or try another --delegate"
NOT_FINITE = [np.nan, np.inf, -np.inf]


@pytest.mark.parametrize("value", NOT_FINITE)
@pytest.mark.parametrize("vs", ["full_model", "ground_truth"])
def test_an_output_that_is_not_finite_has_no_fidelity(
    value: float, vs: str, rng: np.random.Generator
) -> None:
    reference = rng.random((40, 40, 3), np.float32)
    sample = ReferenceSample("a photo", (reference * 255).astype(np.uint8), reference)
    with pytest.raises(InputError, match="the output for a photo contains NaN or infinity"):
        measure_fidelity(vs, iter([(sample, broken(value)(reference))]))


class FakeWorker:
    """Stands for `Worker`: its outputs are a function of the inputs."""

    model: Callable[[np.ndarray], np.ndarray]

    def __init__(self, *_: object) -> None:
        pass

    def call(self, task: str, **arguments: Any) -> dict[str, Any]:
        if task == "infer":
            images = np.load(arguments["inputs"]).astype(np.float32) / 255
            np.save(arguments["outputs"], [type(self).model(one) for one in images])
        return {
            "open": {"load_ms": 1.0, "placement": asdict(WHOLE)},
            "warm_up": {"first_inference_ms": 2.0, "warm_up_runs": 2},
            "time": {"runs_ms": [2.0] * 5, "temperature_c": None, "peak_rss_bytes": 1},
            "infer": {},
        }[task]

    def __enter__(self) -> FakeWorker:
        return self

    def __exit__(self, *error: object) -> None:
        pass


@pytest.mark.parametrize("value", NOT_FINITE)
def test_a_row_whose_outputs_are_not_finite_fails_and_the_next_is_measured(
    value: float, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "Worker", FakeWorker)
    settings = host.Settings(
        5, 0, FullModelReferences(None, None, None, print), time_operators=False
    )
    cases = [BenchmarkCase(data / "small_float16.tflite", "cpu", 1)] * 2
    rows = host.measure(cases, settings, print)
    monkeypatch.setattr(FakeWorker, "model", staticmethod(broken(value)), raising=False)
    first = next(rows)
    monkeypatch.setattr(FakeWorker, "model", staticmethod(lambda image: image))
    second = next(rows)
    assert first.failure.endswith(NOT_FINITE_REMEDY)
    assert (first.failure_kind, first.fidelity) == ("input", ())
    assert second.failure == ""
    assert len(second.fidelity) == 1


@pytest.mark.parametrize("value", NOT_FINITE)
def test_on_a_phones_kernels_too(
    value: float, tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        profile = DEFAULT_PROFILE

        def __init__(self, *_: object) -> None:
            pass

        def run(self, _: bytes, inputs: np.ndarray, __: ImageRanges = UNIT_RANGES) -> ArmRun:
            return ArmRun(np.stack([broken(value)(one / np.float32(255)) for one in inputs]), 100)

    photos = [np.zeros((64, 96, 3), np.uint8)] * 2
    pack = Reference(["a", "b"], photos, [np.zeros((64, 96, 3), np.float32)] * 2)
    (tmp_path / "a.tflite").write_bytes(b"any")
    with pytest.raises(
        InputError, match=r"a\.tflite: the output contains NaN or infinity on cortex-a76"
    ):
        measure([tmp_path / "a.tflite"], pack, Broken(), print)
    monkeypatch.setattr("bokeh_bench.devices.arm64.rows.ArmRunner", Broken)
    full_model = FullModelReferences(None, None, None, print)
    (row,) = measure_arm64([data / "small_float16.tflite"], full_model, print)
    assert row.failure.endswith(NOT_FINITE_REMEDY)


# Results of a phone.


@pytest.fixture
def read_result(data: Path, tmp_path: Path) -> Callable[..., list[Row]]:
    """Reads a phone's result of one row on the GPU, with the given changes."""
    path = data / "small_float16.tflite"
    model = read_model_under_test(path, FullModelReferences(None, None, None, print))
    images = np.stack([sample.reference_output for sample in model.reference_samples]).astype("<f4")

    def read(*, outputs: np.ndarray | None = images, **placement: Any) -> list[Row]:
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
        request = android._Request([BenchmarkCase(path, "gpu", None)], {path: model}, 5, 0.0)
        return list(android._read_result(tmp_path, "X1", request).rows)

    return read


def test_an_unknown_share_of_a_phone_stays_unknown(read_result: Callable[..., list[Row]]) -> None:
    (row,) = read_result(delegated_ops=None, unsupported_ops=None)
    assert row.placement is not None
    assert (row.placement.share, row.placement.unsupported_text) == ("unknown of 43", "unknown")
    assert len(row.fidelity) == 1


@pytest.mark.parametrize(
    "contradiction", [{"delegated_ops": 44}, {"delegated_ops": -1}, {"delegate": "cpu"}]
)
def test_an_inconsistent_result_of_a_phone_is_a_row_with_the_reason(
    contradiction: dict[str, Any], read_result: Callable[..., list[Row]]
) -> None:
    (row,) = read_result(**contradiction)
    assert row.failure.startswith("the result of X1 cannot be read (")
    assert row.failure_kind == "hardware"


@pytest.mark.parametrize("value", NOT_FINITE)
def test_a_phones_output_that_is_not_finite_is_a_row_with_the_reason(
    value: float, read_result: Callable[..., list[Row]]
) -> None:
    images = np.full((2, 64, 96, 3), value, "<f4")
    (row,) = read_result(outputs=np.concatenate([images, images]))
    assert row.failure.endswith(NOT_FINITE_REMEDY)


HANG = "sleep 100000 & wait"


def bench_with_adb(folder: Path, data: Path, **hangs: str) -> subprocess.CompletedProcess[str]:
    """Runs with a fake adb that runs the given shell command for calls that contain the keyword."""
    here = folder / "programs"
    here.mkdir()
    cases = "\n".join(f"  *'{word.replace('_', ' ')}'*) {does};;" for word, does in hangs.items())
    (here / "adb").write_text(
        f'#!/bin/sh\ncase "$*" in\n{cases}\n'
        "  devices) printf 'List of devices attached\\nX1\\tdevice\\n';;\n"
        "  *'pm path'*) echo package:/data/app/base.apk;;\n"
        "  *pidof*) echo 1234;;\n"
        "  *get-state*) echo device;;\n"
        "esac\n"
    )
    (here / "adb").chmod(0o755)
    model = data / "small_float16.tflite"
    arguments = (model, "-dcpu,gpu", "--device=android", "--timeout=4", "--runs=5", "--seconds=0")
    path = f"{here}:/usr/bin:/bin"
    return commands.command("bokeh-bench", *arguments, cwd=folder, PATH=path)


@pytest.mark.slow
@pytest.mark.parametrize("word", ["mkdir", "push", "am_start", "status.json", "pidof"])
def test_an_adb_that_hangs_is_a_row_with_the_reason(word: str, data: Path, tmp_path: Path) -> None:
    done = bench_with_adb(tmp_path, data, **{word: HANG})
    assert done.returncode == 3, done.stderr
    rows = json.loads((tmp_path / "bench/report.json").read_text())["rows"]
    assert [row["failure_kind"] for row in rows] == ["hardware"] * 2
    program = "push" if word == "push" else "shell"
    for row in rows:
        assert row["failure"].startswith(f"android: adb {program} did not end within 4 s; check")


@pytest.mark.slow
def test_a_phone_that_hangs_at_the_end_is_a_row_with_the_reason(data: Path, tmp_path: Path) -> None:
    done = bench_with_adb(
        tmp_path, data, **{"status.json": "echo '{\"finished\": true}'", "pull": HANG, "rm": HANG}
    )
    assert done.returncode == 3, done.stderr
    rows = json.loads((tmp_path / "bench/report.json").read_text())["rows"]
    assert [row["failure"].partition(";")[0] for row in rows] == [
        "android: adb pull did not end within 4 s"
    ] * 2


def test_an_app_without_progress_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent:
        serial = "X1"

        def is_attached(self) -> bool:
            return True

        def shell(self, command: str) -> str:
            return "1234" if "pidof" in command else '["not a state"]'

    monkeypatch.setattr(android, "_POLL_SECONDS", 0.05)
    why = android._wait(Silent(), "/x", 0.5, lambda what: None)
    assert why.startswith("android: no progress on X1 for ")
    assert why.endswith("or give a longer --timeout")


@pytest.mark.slow
def test_an_adb_that_hangs_before_a_phone_is_known_is_exit_code_3(
    data: Path, tmp_path: Path
) -> None:
    done = bench_with_adb(tmp_path, data, devices=HANG)
    assert done.returncode == 3
    assert "android: adb devices did not end within 4 s" in done.stderr
