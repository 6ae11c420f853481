from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bokeh_bench.measure import host
from bokeh_bench.measure.cases import BenchmarkCase
from bokeh_bench.measure.host import Settings
from bokeh_bench.measure.latency import Block, Latency, LatencyRatio, estimate_latency_ratio
from bokeh_bench.measure.references import FullModelReferences
from bokeh_bench.measure.rows import ModelFile, Report, Row
from bokeh_bench.report.console import markdown
from bokeh_bench.studies.agreement import blocks
from bokeh_runtime.backends.placement import Placement


def latency(*runs_ms: float) -> Latency:
    return Latency(load_ms=0, first_inference_ms=0, warm_up_runs=2, runs_ms=runs_ms)


def test_percentiles_lie_between_the_runs() -> None:
    found = latency(10, 40, 20, 30, 50)
    assert found.median_ms == 30
    assert found.percentile_ms(90) == pytest.approx(46)
    assert found.percentile_ms(99) == pytest.approx(49.6)
    assert found.iqr_ms == 20
    assert found.relative_iqr == pytest.approx(20 / 30)


def test_a_steady_machine_needs_no_note(rng: np.random.Generator) -> None:
    assert latency(*rng.normal(100, 1, 40)).notes == []


def test_noise_is_noted() -> None:
    (note,) = latency(*[100, 140] * 20).notes
    assert note == "unreliable: IQR is 33% of the median"


def test_a_machine_that_throttles_is_noted(rng: np.random.Generator) -> None:
    found = latency(*(np.linspace(100, 120, 40) + rng.normal(0, 1, 40)))
    assert found.drift == pytest.approx(20 / 110, abs=0.02)
    assert any("18% slower" in note for note in found.notes)


def test_noise_is_no_drift(rng: np.random.Generator) -> None:
    assert latency(*rng.normal(100, 30, 30)).drift == 0


@pytest.mark.parametrize(("percent", "runs"), [(90, 10), (95, 20), (99, 100)])
def test_a_tail_percentile_needs_an_expected_run_beyond_it(percent: int, runs: int) -> None:
    assert latency(*range(1, runs)).tail_percentile_ms(percent) is None
    found = latency(*range(1, runs + 1))
    tail = found.tail_percentile_ms(percent)
    assert tail is not None
    assert np.median(found.runs_ms) < tail < max(found.runs_ms)


def test_of_20_runs_a_report_has_no_p99() -> None:
    row = Row(ModelFile("a.tflite"), "cpu", latency=latency(*range(1, 21)))
    report = Report("now", {}, [row])
    written = report.to_data()["rows"][0]["latency"]
    assert written["p90_ms"] == pytest.approx(18.1)
    assert written["p99_ms"] is None
    text = markdown(report)
    heading, _, cells = (line.split(" | ") for line in text.splitlines()[:3])
    assert (cells[heading.index("p90")], cells[heading.index("p99")]) == ("18.1 ms", "-")
    assert (
        "p99 is - with fewer than 100 runs (--runs 100): it would only be the slowest run" in text
    )
    assert "p90 is -" not in text
    enough = Row(ModelFile("a.tflite"), "cpu", latency=latency(*range(1, 101)))
    assert "with fewer than" not in markdown(Report("now", {}, [enough]))


def rounds(
    rng: np.random.Generator,
    *,
    count: int,
    runs_each: int,
    correlation: float = 0.8,
    process: float = 0.03,
) -> list[Block]:
    """Simulated blocks with a true ratio of 1.

    Deviations of consecutive runs have the given correlation (an autoregression of order 1), and
    each process has a random speed with the relative deviation `process`.
    """

    def runs() -> list[float]:
        deviations = [rng.normal(0, 0.02)]
        while len(deviations) < runs_each:
            deviations.append(
                correlation * deviations[-1] + rng.normal(0, 0.02 * (1 - correlation**2) ** 0.5)
            )
        return list(100 * np.exp(rng.normal(0, process) + np.array(deviations)))

    return [(runs(), runs()) for _ in range(count)]


def coverage(found: Iterable[LatencyRatio]) -> float:
    return float(np.mean([one.ci95_low <= 1 <= one.ci95_high for one in found]))


@pytest.mark.slow
def test_the_interval_covers_the_truth_where_runs_and_processes_are_correlated() -> None:
    rng = np.random.default_rng(14)
    sure = coverage(estimate_latency_ratio(rounds(rng, count=10, runs_each=4)) for _ in range(300))
    assert 0.92 <= sure <= 0.98  # 0.95 with a standard error of 0.013
    # The same machine, but all runs in one process and wrongly treated as independent.
    dependent = (rounds(rng, count=1, runs_each=40)[0] for _ in range(100))
    naive = coverage(
        estimate_latency_ratio([([a], [b]) for a, b in zip(*one, strict=True)]) for one in dependent
    )
    assert naive < 0.5


def test_blocks_of_one_process_keep_consecutive_runs_together() -> None:
    rng = np.random.default_rng(15)
    series = [rounds(rng, count=1, runs_each=100, process=0)[0] for _ in range(200)]
    assert 0.85 <= coverage(estimate_latency_ratio(blocks(*one)) for one in series) <= 0.99
    single = coverage(
        estimate_latency_ratio([([a], [b]) for a, b in zip(*one, strict=True)]) for one in series
    )
    assert single < 0.6


@pytest.mark.parametrize("runs", [10, 60, 61])
def test_blocks_hold_all_runs_in_order(runs: int) -> None:
    found = blocks(range(runs), range(runs))
    assert len(found) == 10
    assert [ms for one, _ in found for ms in one] == list(range(runs))
    assert all(one for one, _ in found)


def test_five_rounds_are_enough_and_four_are_not() -> None:
    rng = np.random.default_rng(16)
    sure = coverage(estimate_latency_ratio(rounds(rng, count=5, runs_each=1)) for _ in range(200))
    assert 0.89 <= sure <= 0.99
    with pytest.raises(ValueError, match="an interval needs 5"):
        estimate_latency_ratio(rounds(rng, count=4, runs_each=10))


def test_the_ratio_of_interleaved_runs_ignores_what_affects_both() -> None:
    machine = 1 + np.arange(40) / 10  # five times slower at the end
    found = estimate_latency_ratio(blocks(list(80 * machine), list(100 * machine)))
    assert (found.estimate, found.ci95_low, found.ci95_high) == pytest.approx((0.8, 0.8, 0.8))


def test_the_interval_of_a_difference_excludes_1() -> None:
    rng = np.random.default_rng(17)
    slower = [
        ([1.3 * ms for ms in one], other) for one, other in rounds(rng, count=10, runs_each=4)
    ]
    found = estimate_latency_ratio(slower)
    assert 1 < found.ci95_low < found.estimate < found.ci95_high < 1.7


class Clock:
    """Stands for `Worker`: the model that runs second takes a tenth longer."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.started = 0

    @contextmanager
    def worker(self, case: BenchmarkCase, _: Settings) -> Iterator[Clock._Process]:
        self.started += 1
        yield Clock._Process(self, case.model.name[0])

    @dataclass
    class _Process:
        clock: Clock
        name: str

        def call(self, task: str, **_: Any) -> dict[str, Any]:
            if task == "time_one_run":
                second = len(self.clock.log) % 2
                self.clock.log.append(self.name)
                return {"ms": 11.0 if second else 10.0}
            return {
                "placement": asdict(Placement("cpu", "cpu", "a CPU", 1, 1)),
                "load_ms": 5.0,
                "first_inference_ms": 20.0,
                "warm_up_runs": 2,
                "peak_rss_bytes": 1000,
            }


def test_the_order_alternates_in_fresh_processes(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(host, "_worker", clock.worker)
    cells = []
    for name in "ab":
        (tmp_path / f"{name}.tflite").write_bytes((data / "small_rgbd.tflite").read_bytes())
        cells.append(BenchmarkCase(tmp_path / f"{name}.tflite", "cpu", 1))
    settings = Settings(20, 0, FullModelReferences(None, None, None, print))
    rows, comparison = host.measure_interleaved(*cells, settings, lambda what: None)
    assert "".join(clock.log) == ("abba" + "baab") * 5
    assert clock.started == 2 * 10 + 2  # and one more each for the fidelity
    assert (comparison.runs_per_model, comparison.rounds) == (20, 10)
    assert [len(row.latency.runs_ms) for row in rows if row.latency] == [20, 20]
    # The effect of the order is not taken for a difference between the models.
    found = comparison.latency_ratio
    assert (found.ci95_low, found.estimate, found.ci95_high) == pytest.approx((1, 1, 1))
