from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest

from bokeh_bench.measure.latency import Latency, LatencyRatio
from bokeh_bench.measure.operator_times import OperatorTime
from bokeh_bench.measure.rows import SCHEMA, ModelFile, PairedComparison, Report, Row
from bokeh_bench.report.regression import Limits, failures, read_report, warnings
from bokeh_runtime.errors import InputError
from bokeh_runtime.metrics.fidelity import Fidelity, ImageFidelity
from bokeh_runtime.metrics.registry import Metric, all_metrics

METRICS = {"ssim": 1.0, "ms_ssim": 1.0, "flip": 0.0, "grain": 0.0}
STRICT = Limits(slowdown=0.05, psnr_drop_db=0.2)


def report(psnr_db: list[float], latency_ms: float = 100.0) -> dict[str, Any]:
    """What `bokeh-bench` writes of one row, read back from its JSON."""
    images = [ImageFidelity(f"photo {i}", db, 0.0, METRICS) for i, db in enumerate(psnr_db)]
    row = Row(
        ModelFile("a"),
        "cpu",
        latency=Latency(1.0, 1.0, 2, [latency_ms] * 5),
        fidelity=[Fidelity(images)],
    )
    written = json.dumps(Report("now", {"cpu": "x"}, [row]).to_data(), allow_nan=False)
    data: dict[str, Any] = json.loads(written)
    return data


def graded(key: str, *values: float | None) -> dict[str, Any]:
    """A report on two photos or more, with values of one metric."""
    data = report([44.0] * len(values))
    for image, value in zip(data["rows"][0]["fidelity"][0]["images"], values, strict=True):
        image[key] = value
    return data


@pytest.fixture
def old() -> dict[str, Any]:
    return report([44.0, 46.0])


@pytest.fixture
def new(old: dict[str, Any]) -> dict[str, Any]:
    return copy.deepcopy(old)


def test_no_change_passes(old: dict[str, Any]) -> None:
    new = report([43.81, 45.9], latency_ms=104.9)
    new["rows"].append({"name": "a new one", "failure": "does not run"})
    assert failures(old, new, STRICT) == []


def test_what_got_slower_fails(old: dict[str, Any]) -> None:
    new = report([44.0, 46.0], latency_ms=107.0)
    (line,) = failures(old, new, STRICT)
    assert line == "a, cpu: latency +7.0% (100.0 ms to 107.0 ms; allowed: +5.0%)"
    assert failures(old, new, Limits(None, 0.2)) == []


def test_what_got_worse_fails(old: dict[str, Any]) -> None:
    new = report([43.7, 45.7])
    lines = failures(old, new, STRICT)
    assert [line.split(": ")[2].split()[0] for line in lines] == ["mean", "pooled", "worst"]
    assert lines[0] == (
        "a, cpu: PSNR vs full model, protocol full: "
        "mean 45.00 dB to 44.70 dB (allowed drop: 0.2 dB)"
    )
    assert failures(old, new, Limits(0.05, None)) == []


def test_the_limit_applies_to_each_statistic(old: dict[str, Any]) -> None:
    def worse(before: list[float], now: list[float]) -> list[str]:
        lines = failures(report(before), report(now), STRICT)
        return [line.split(": ")[2].split()[0] for line in lines]

    # Other photos make up for it in the mean, and here in the pooled error too.
    assert worse([40.0, 40.0, 40.0], [39.5, 60.0, 60.0]) == ["worst"]
    assert worse([30.0, 50.0, 50.0], [30.0, 45.0, 55.0]) == []
    assert worse([30.0, 50.0, 50.0], [30.0, 45.0, 50.0]) == ["mean"]
    assert worse([30.0, 30.1, 30.1, 30.1, 60.0], [30.0, 30.0, 30.0, 30.0, 33.0])[:2] == [
        "mean",
        "pooled",
    ]


def test_identical_images_are_the_best() -> None:
    identical, differing = report([math.inf, math.inf]), report([45.0, 45.0])
    assert failures(identical, identical, STRICT) == []
    assert failures(differing, identical, STRICT) == []
    lines = failures(identical, differing, STRICT)
    assert [line.split(": ")[2] for line in lines] == [
        "photo 0 was identical, now 45.00 dB",
        "photo 1 was identical, now 45.00 dB",
    ]


def test_an_identical_image_hides_no_other() -> None:
    lines = failures(report([math.inf, 40.0]), report([math.inf, 9.0]), STRICT)
    assert len(lines) == 3
    assert "mean 40.00 dB to 9.00 dB" in lines[0]
    # One that becomes identical leaves the mean of the others as it was.
    assert failures(report([30.0, 50.0]), report([30.0, math.inf]), STRICT) == []
    lines = failures(report([30.0, 60.0]), report([9.0, math.inf]), STRICT)
    assert any("worst 30.00 dB to 9.00 dB" in line for line in lines)
    (line,) = failures(report([30.0, math.inf]), report([30.0, 60.0]), STRICT)
    assert "photo 1 was identical, now 60.00 dB" in line


def test_a_report_of_an_older_version_is_compared_where_it_has_the_values() -> None:
    def older(psnr_db: list[float]) -> dict[str, Any]:
        """As it was written before the pooled error and `identical` were."""
        data = report(psnr_db)
        fidelity = data["rows"][0]["fidelity"][0]
        del fidelity["psnr_db_pooled"], fidelity["identical_images"]
        for image in fidelity["images"]:
            del image["identical"]
        if math.inf in psnr_db:
            fidelity["psnr_db_mean"] = None
        return data

    assert failures(older([45.0]), report([45.0]), STRICT) == []
    assert len(failures(older([45.0]), report([44.0]), STRICT)) == 3
    # Null stood for an identical image, and for one without a PSNR.
    for new in (report([45.0, 9.0]), report([45.0, math.inf])):
        (line,) = failures(older([45.0, math.inf]), new, STRICT)
        assert "not comparable: an image has no PSNR in the older report" in line


GRAIN = Limits(None, None, {"grain": 0.05})


def test_grain_that_got_worse_fails() -> None:
    old = graded("grain", 0.5, 0.7)
    assert failures(old, graded("grain", 0.54, 0.74), GRAIN) == []
    assert failures(old, graded("grain", 0.1, 0.2), GRAIN) == []
    lines = failures(old, graded("grain", 0.6, 0.76), GRAIN)
    assert lines == [
        "a, cpu: grain vs full model, protocol full: mean 0.60 to 0.68 (allowed increase: 0.05)",
        "a, cpu: grain vs full model, protocol full: worst 0.70 to 0.76 (allowed increase: 0.05)",
    ]
    assert failures(old, graded("grain", 0.6, 0.76), STRICT) == []  # no limit on it was given


def test_a_photo_makes_up_for_another_in_the_mean_alone() -> None:
    (line,) = failures(graded("grain", 0.5, 0.7), graded("grain", 0.3, 0.9), GRAIN)
    assert "worst 0.70 to 0.90" in line
    (line,) = failures(graded("grain", 0.1, 0.7), graded("grain", 0.5, 0.7), GRAIN)
    assert "mean 0.40 to 0.60" in line


def test_photos_without_smooth_areas_are_left_out() -> None:
    old = graded("grain", None, 0.5)
    assert failures(old, graded("grain", None, 0.54), GRAIN) == []
    assert len(failures(old, graded("grain", None, 0.56), GRAIN)) == 2
    (line,) = failures(old, graded("grain", 0.1, 0.1), GRAIN)
    assert "not comparable: the images differ from before" in line
    (line,) = failures(graded("grain", None, None), graded("grain", None, None), GRAIN)
    assert "every image has fewer than 289 pixels in smooth areas; omit --max-grain-incr" in line


@pytest.mark.parametrize("side", ["older", "new"])
@pytest.mark.parametrize("damage", ["missing", math.nan, math.inf, "little"])
def test_a_metric_that_a_report_lacks_cannot_pass(side: str, damage: object) -> None:
    reports = {"older": graded("grain", 0.5, 0.5), "new": graded("grain", 0.5, 0.5)}
    image = reports[side]["rows"][0]["fidelity"][0]["images"][1]
    image["grain"] = damage
    if damage == "missing":
        del image["grain"]
    assert failures(reports["older"], reports["new"], STRICT) == []
    (line,) = failures(reports["older"], reports["new"], GRAIN)
    assert line.endswith(
        f"grain vs full model, protocol full: not comparable: an image has no grain in the {side} "
        "report; run bokeh-bench of this version again, or omit --max-grain-increase"
    )


def test_a_report_without_references_cannot_pass_a_limit_on_a_metric() -> None:
    old, new = graded("grain", 0.5), graded("grain", 0.5)
    new["rows"][0]["fidelity"] = []
    assert failures(old, new, GRAIN) == [
        "a, cpu: image quality vs full model, protocol full: not measured in this run"
    ]
    (line,) = failures(new, old, GRAIN)
    assert "not comparable: no image quality in the older report" in line


@pytest.mark.parametrize("metric", all_metrics(), ids=lambda metric: metric.key)
def test_each_metric_has_a_limit_in_its_own_direction(metric: Metric) -> None:
    limits = Limits(None, None, {metric.key: 0.01})
    better, worse = (0.9, 0.8) if metric.higher_is_better else (0.8, 0.9)
    assert failures(graded(metric.key, worse), graded(metric.key, better), limits) == []
    lines = failures(graded(metric.key, better), graded(metric.key, worse), limits)
    assert len(lines) == 2
    assert all(line.startswith(f"a, cpu: {metric.label} vs full model") for line in lines)


@pytest.mark.parametrize("what", ["gone", "broken", "not compared", "no time"])
def test_what_was_measured_before_must_be_again(
    what: str, old: dict[str, Any], new: dict[str, Any]
) -> None:
    if what == "gone":
        new["rows"] = []
    elif what == "broken":
        new["rows"][0]["failure"] = "the gpu is not here"
    elif what == "no time":
        new["rows"][0]["latency"] = None
    else:
        new["rows"][0]["fidelity"] = []
    assert len(failures(old, new, STRICT)) == 1


@pytest.mark.parametrize("side", ["old", "new"])
@pytest.mark.parametrize("value", [None, 0, 0.0, -3.0, math.nan, math.inf, "fast", []])
def test_an_invalid_latency_is_not_compared(
    side: str, value: object, old: dict[str, Any], new: dict[str, Any]
) -> None:
    (old if side == "old" else new)["rows"][0]["latency"]["latency_ms"] = value
    (line,) = failures(old, new, STRICT)
    assert "latency" in line


@pytest.mark.parametrize("side", ["old", "new"])
@pytest.mark.parametrize("value", [None, math.nan, math.inf, "good"])
def test_an_invalid_psnr_is_not_compared(
    side: str, value: object, old: dict[str, Any], new: dict[str, Any]
) -> None:
    (old if side == "old" else new)["rows"][0]["fidelity"][0]["images"][1]["psnr_db"] = value
    (line,) = failures(old, new, STRICT)
    assert "not comparable" in line


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda row: row.update(latency=None), "no latency in the older report"),
        (lambda row: row.pop("latency"), "no latency in the older report"),
        (lambda row: row.update(fidelity=[]), "no PSNR in the older report"),
        (lambda row: row["fidelity"][0].update(images=[]), "no PSNR in the older report"),
        (lambda row: row["fidelity"][0]["images"].pop(), "the images differ from before"),
        (
            lambda row: row["fidelity"][0]["images"][0].update(name="x"),
            "the images differ from before",
        ),
    ],
)
def test_what_an_older_report_does_not_hold_cannot_pass(
    damage: Any, message: str, old: dict[str, Any], new: dict[str, Any]
) -> None:
    damage(old["rows"][0])
    (line,) = failures(old, new, STRICT)
    assert message in line


def test_nothing_to_compare_with_is_no_pass(old: dict[str, Any], new: dict[str, Any]) -> None:
    old["rows"][0]["failure"] = "no gpu"
    assert "no successful row to compare with" in failures(old, new, STRICT)[0]
    assert "no successful row to compare with" in failures({**old, "rows": []}, new, STRICT)[0]


def test_what_failed_before_may_fail_again(old: dict[str, Any], new: dict[str, Any]) -> None:
    for data in (old, new):
        data["rows"].append({"name": "b, gpu", "failure": "no gpu"})
    assert failures(old, new, STRICT) == []


@pytest.mark.parametrize("limits", [(math.nan, None), (None, math.nan), (math.inf, None)])
def test_a_limit_is_a_number(limits: tuple[float | None, float | None]) -> None:
    with pytest.raises(InputError, match="is not a limit"):
        Limits(*limits)
    with pytest.raises(InputError, match="--max-grain-increase nan: is not a limit"):
        Limits(None, None, {"grain": math.nan})


def test_another_machine_is_noted(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert warnings(old, new) == []
    new["environment"]["cpu"] = "y"
    assert warnings(old, new) == ["the older report is from another machine (cpu: x, now y)"]


def test_an_older_report_with_rows_missing_is_noted(
    old: dict[str, Any], new: dict[str, Any]
) -> None:
    old["interrupted"] = True
    assert warnings(old, new) == [
        "the older run was interrupted, so rows may be missing from its report"
    ]


def key_paths(value: Any, path: str = "") -> set[str]:
    """All keys of JSON data, such as "rows.latency.p90_ms"."""
    if isinstance(value, list):
        return {found for item in value for found in key_paths(item, path)}
    if not isinstance(value, dict):
        return {path}
    return {found for key, item in value.items() for found in key_paths(item, f"{path}.{key}")}


@pytest.mark.parametrize("name", ["bench_report_schema1.json", "bench_report_schema1_pair.json"])
def test_a_report_of_schema_1_gets_the_keys_of_the_current_schema(name: str, data: Path) -> None:
    row = Row(
        ModelFile("a"),
        "cpu",
        latency=Latency(1.0, 1.0, 2, [1.0] * 5),
        fidelity=[Fidelity([ImageFidelity("a", 40.0, 0.0, METRICS)])],
        operator_times=[OperatorTime("Convolution", 1, 1.0, 1.0)],
    )
    comparison = PairedComparison("a", "b", LatencyRatio(1.0, 0.9, 1.1), 20, 10)
    environment = json.loads((data / name).read_text())["environment"]
    current = Report("now", environment, [row, Row(ModelFile("b"), "gpu")], comparison).to_data()
    old = read_report(data / name)
    assert old["schema"] == SCHEMA
    for entry in (*old["rows"], *current["rows"]):
        del entry["placement"]  # no comparison reads it
    assert key_paths(old) - key_paths(current) <= {".paired_comparison", ".rows.notes"}
    assert old.keys() == current.keys()
    assert old["rows"][0].keys() == current["rows"][0].keys()


def test_a_report_of_schema_1_can_be_compared_with(data: Path) -> None:
    old = read_report(data / "bench_report_schema1.json")
    new = copy.deepcopy(old)
    assert failures(old, new, STRICT) == []
    new["rows"][0]["latency"]["latency_ms"] *= 2
    new["rows"][0]["fidelity"][0]["images"][0]["psnr_db"] = 30.0
    lines = failures(old, new, STRICT)
    assert [line.split(": ", 1)[0] for line in lines] == ["small_int8.tflite, cpu, 1 threads"] * 4
    assert "latency +100.0%" in lines[0]


@pytest.mark.parametrize(
    "text",
    [
        None,
        "{",
        "[]",
        json.dumps({"schema": "other/1"}),
        json.dumps({"schema": "bokeh-tflite/bench/1"}),
        json.dumps({"schema": "bokeh-tflite/bench/1", "environment": {}, "rows": [1], "pair": 2}),
        json.dumps({"schema": "bokeh-tflite/bench/99"}),
        json.dumps({"schema": SCHEMA}),
        json.dumps({"schema": SCHEMA, "environment": {}, "rows": [{"name": "a"}]}),
        json.dumps({"schema": SCHEMA, "environment": {}, "rows": [1]}),
        json.dumps({"schema": SCHEMA, "environment": {}, "rows": [], "load": math.nan}),
    ],
)
def test_a_file_that_is_no_report_is_refused(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=r"old.json: .*(report|again)"):
        read_report(path)
