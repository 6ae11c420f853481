from __future__ import annotations

import numpy as np
import pytest

from bokeh_bench.latency import Latency, ratio


def latency(*runs_ms: float) -> Latency:
    return Latency(load_ms=0, first_inference_ms=0, warm_up_runs=2, runs_ms=runs_ms)


def test_percentiles_lie_between_the_runs() -> None:
    found = latency(10, 40, 20, 30, 50)
    assert found.median_ms == 30
    assert found.percentile_ms(90) == pytest.approx(46)
    assert found.percentile_ms(99) == pytest.approx(49.6)
    assert found.iqr_ms == 20
    assert found.spread == pytest.approx(20 / 30)


def test_a_steady_machine_needs_no_note(rng: np.random.Generator) -> None:
    assert latency(*rng.normal(100, 1, 40)).notes == []


def test_noise_is_told() -> None:
    (note,) = latency(*[100, 140] * 20).notes
    assert note == "too noisy to say: half of the runs spread over 33% of the median"


def test_a_machine_that_throttles_is_told(rng: np.random.Generator) -> None:
    found = latency(*(np.linspace(100, 120, 40) + rng.normal(0, 1, 40)))
    assert found.drift == pytest.approx(20 / 110, abs=0.02)
    assert any("18% slower" in note for note in found.notes)


def test_noise_is_no_drift(rng: np.random.Generator) -> None:
    assert latency(*rng.normal(100, 30, 30)).drift == 0


def test_the_ratio_of_turns_ignores_what_hits_both() -> None:
    machine = 1 + np.arange(40) / 10  # five times slower at the end
    found = ratio(list(80 * machine), list(100 * machine))
    assert (found.median, found.low, found.high) == pytest.approx((0.8, 0.8, 0.8))


def test_the_ratios_interval_covers_the_truth_about_95_times_in_100(
    rng: np.random.Generator,
) -> None:
    covered = 0
    for _ in range(200):
        one, other = rng.lognormal(0, 0.1, 30), rng.lognormal(0, 0.1, 30)
        found = ratio(list(one), list(other))
        covered += found.low <= 1 <= found.high
    assert 180 <= covered <= 200


def test_few_turns_have_their_range_for_an_interval() -> None:
    found = ratio([1, 2, 3], [2, 2, 2])
    assert (found.low, found.high) == (0.5, 1.5)
