"""How well `bokeh-bench`'s latency agrees with a bare loop and with LiteRT's own benchmark."""

from __future__ import annotations

import itertools
import os
import re
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bokeh_bench import child_process
from bokeh_bench.measure.latency import Block, LatencyRatio, estimate_latency_ratio
from bokeh_bench.report.tables import markdown_table
from bokeh_bench.workers.latency import Measurement
from bokeh_bench.workers.process import Worker
from bokeh_runtime.backends.interpreter import TfliteModel
from bokeh_runtime.errors import InputError

_MEDIAN = re.compile(r"Inference \(median\): +([\d.]+) ms")
_RUNS = 20
_BLOCKS = 10
_LITERT_SECONDS = _RUNS * child_process.TIMEOUT_SECONDS


@dataclass(frozen=True)
class Agreement:
    """Ratios of bokeh-bench's latency to another one's, measured in interleaved runs.

    Attributes:
        to_bare_loop: Run by run in one process; blocks of runs are resampled.
        to_litert: Medians of 20 runs each, with a process for each median.
        runs: Number of runs against the bare loop.
        rounds: Number of medians against LiteRT's benchmark.
    """

    to_bare_loop: LatencyRatio
    to_litert: LatencyRatio
    runs: int
    rounds: int


def measure(
    model: Path, threads: int, runs: int, rounds: int, progress: Callable[[str], None]
) -> Agreement:
    """Measures both ratios.

    Args:
        model: A .tflite file, which is run on the CPU.
        threads: Number of CPU threads.
        runs: Number of runs against the bare loop, at least 10.
        rounds: Number of processes against LiteRT's benchmark, at least 5.
        progress: Called with a description of each step.

    Raises:
        InputError: If the model takes integers, or LiteRT's benchmark fails.
    """
    progress("interleaved runs with a bare loop")
    ours, bare = _interleave_with_bare_loop(model, threads, runs)
    medians: list[Block] = []
    for i in range(rounds):
        progress(f"LiteRT's benchmark, round {i + 1} of {rounds}")
        both = [_bokeh_bench_ms, _litert_ms]
        # The order alternates.
        found = {method: method(model, threads) for method in (both[::-1] if i % 2 else both)}
        medians.append(([found[_bokeh_bench_ms]], [found[_litert_ms]]))
    to_bare_loop = estimate_latency_ratio(blocks(ours, bare))
    return Agreement(to_bare_loop, estimate_latency_ratio(medians), runs, rounds)


def blocks(first_ms: Sequence[float], second_ms: Sequence[float]) -> list[Block]:
    """Splits one series of interleaved runs into 10 blocks of consecutive runs."""
    edges = [round(i * len(first_ms) / _BLOCKS) for i in range(_BLOCKS + 1)]
    return [(first_ms[a:b], second_ms[a:b]) for a, b in itertools.pairwise(edges)]


def table(found: Agreement) -> str:
    """Returns a Markdown table of both ratios."""
    ratios = (
        (f"bare loop, {found.runs} runs", found.to_bare_loop),
        (f"LiteRT's benchmark, {found.rounds} rounds", found.to_litert),
    )
    return markdown_table(
        ("latency of bokeh-bench relative to", "ratio", "95 % confidence interval"),
        [
            (name, f"{one.estimate:.4f}", f"{one.ci95_low:.4f} to {one.ci95_high:.4f}")
            for name, one in ratios
        ],
    )


def _interleave_with_bare_loop(
    model: Path, threads: int, runs: int
) -> tuple[list[float], list[float]]:
    """Returns the run times in ms of bokeh-bench and of the bare loop."""
    measurement = Measurement({"model": str(model), "delegate": "cpu", "threads": threads})
    measurement.open()
    # Both use the same interpreter: a second one differs by 2 % because of its memory layout.
    opened = measurement.engine.model
    assert isinstance(opened, TfliteModel)  # always so on the CPU
    interpreter = opened.interpreter
    entry = interpreter.get_input_details()[0]
    if entry["dtype"] is not np.float32:
        # bokeh-bench's time includes the conversion from floats, which a bare loop has not.
        raise InputError(
            f"{model}: takes integers; give a file that takes floats, such as of --quant int8"
        )
    result = interpreter.get_output_details()[0]["index"]
    network_input = measurement.network_input[None]

    def bare_loop() -> float:
        start = time.perf_counter()
        interpreter.set_tensor(entry["index"], network_input)
        interpreter.invoke()
        interpreter.get_tensor(result)
        return (time.perf_counter() - start) * 1000

    ours, bare = [], []
    for run in range(runs + 1):
        # The order alternates, because the second run finds other memory in the caches.
        if run % 2:
            one, other = measurement.time_one_run()["ms"], bare_loop()
        else:
            other, one = bare_loop(), measurement.time_one_run()["ms"]
        if run > 0:  # the first run is a warm-up, in which kernels are prepared
            ours.append(one)
            bare.append(other)
    return ours, bare


def _bokeh_bench_ms(model: Path, threads: int) -> float:
    with Worker({"model": str(model), "delegate": "cpu", "threads": threads}) as worker:
        worker.call("open")
        worker.call("warm_up", seconds=10)
        times: list[float] = worker.call("time", runs=_RUNS, seconds=0)["runs_ms"]
        return statistics.median(times)


def _litert_ms(model: Path, threads: int) -> float:
    command = [
        *(sys.executable, "-m", "ai_edge_litert.tools.benchmark_litert_model", f"--model={model}"),
        *(f"--num_threads={threads}", f"--num_runs={_RUNS}", "--warmup_runs=6"),
    ]
    environment = {**os.environ, "VK_ICD_FILENAMES": ""}
    try:
        done = child_process.run(command, seconds=_LITERT_SECONDS, environment=environment)
    except child_process.TimeLimitError as error:
        raise InputError(f"{model}: LiteRT's benchmark {error}") from error
    found = _MEDIAN.search(done.stdout)
    if found is None:
        last = done.stderr.strip().splitlines() or ["no message"]
        raise InputError(f"{model}: LiteRT's benchmark failed ({last[-1]})")
    return float(found[1])
