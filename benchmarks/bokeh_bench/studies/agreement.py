"""How far `bokeh-bench`'s latency is from a bare loop's, and from LiteRT's own benchmark's."""

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

from bokeh_bench import child_process
from bokeh_bench.measure.latency import Block, Ratio, ratio
from bokeh_bench.report.tables import markdown_table
from bokeh_bench.workers.latency import Measurement
from bokeh_bench.workers.process import Worker
from bokeh_runtime.backends.interpreter import TfliteModel
from bokeh_runtime.errors import InputError

_MEDIAN = re.compile(r"Inference \(median\): +([\d.]+) ms")
_RUNS = 20
_BLOCKS = 10
_LITERT_SECONDS = _RUNS * child_process.SECONDS


@dataclass(frozen=True)
class Agreement:
    """Both are ratios of run times, ours over the other's, taken in one interleaved run.

    Attributes:
        to_bare_loop: Run by run, in one process, whose turns are resampled in blocks.
        to_litert: Medians of 20 runs each, process by process.
        turns, rounds: How many.
    """

    to_bare_loop: Ratio
    to_litert: Ratio
    turns: int
    rounds: int


def measure(
    model: Path, threads: int, turns: int, rounds: int, say: Callable[[str], None]
) -> Agreement:
    """Measures both.

    Args:
        model: A .tflite file that the CPU runs.
        threads: Of the CPU.
        turns: Runs against the bare loop, 10 at least.
        rounds: Processes against LiteRT's benchmark.
        say: Told what is being done.

    Raises:
        InputError: If LiteRT's benchmark fails.
    """
    say("turns with a bare loop")
    ours, bare = _turns_with_bare_loop(model, threads, turns)
    medians: list[Block] = []
    for i in range(rounds):
        say(f"LiteRT's benchmark, round {i + 1} of {rounds}")
        both = [_ours, _litert]
        # Who goes first takes turns.
        found = {kind: kind(model, threads) for kind in (both[::-1] if i % 2 else both)}
        medians.append(([found[_ours]], [found[_litert]]))
    return Agreement(ratio(blocks(ours, bare)), ratio(medians), turns, rounds)


def blocks(first_ms: Sequence[float], second_ms: Sequence[float]) -> list[Block]:
    """Cuts one series of turns into 10 blocks of neighbours."""
    edges = [round(i * len(first_ms) / _BLOCKS) for i in range(_BLOCKS + 1)]
    return [(first_ms[a:b], second_ms[a:b]) for a, b in itertools.pairwise(edges)]


def table(found: Agreement) -> str:
    """Returns a Markdown table of both."""
    ratios = (
        (f"a bare loop's, {found.turns} turns", found.to_bare_loop),
        (f"LiteRT's own benchmark's, {found.rounds} rounds", found.to_litert),
    )
    return markdown_table(
        ("bokeh-bench's latency over", "ratio", "95 % interval"),
        [(name, f"{one.estimate:.4f}", f"{one.low:.4f} to {one.high:.4f}") for name, one in ratios],
    )


def _turns_with_bare_loop(model: Path, threads: int, turns: int) -> tuple[list[float], list[float]]:
    measurement = Measurement({"model": str(model), "delegate": "cpu", "threads": threads})
    measurement.open()
    # The same interpreter: a second one has its memory elsewhere, which is 2 % already.
    opened = measurement.ready.model
    assert isinstance(opened, TfliteModel)  # as on every CPU
    interpreter = opened.interpreter
    entry = interpreter.get_input_details()[0]
    result = interpreter.get_output_details()[0]["index"]
    image = measurement.image[None]

    def bare_loop() -> float:
        start = time.perf_counter()
        interpreter.set_tensor(entry["index"], image)
        interpreter.invoke()
        interpreter.get_tensor(result)
        return (time.perf_counter() - start) * 1000

    ours, bare = [], []
    for turn in range(turns + 1):
        # Who goes first takes turns too: the second finds other memory in the caches.
        if turn % 2:
            one, other = measurement.turn()["ms"], bare_loop()
        else:
            other, one = bare_loop(), measurement.turn()["ms"]
        if turn > 0:  # kernels are prepared in the first
            ours.append(one)
            bare.append(other)
    return ours, bare


def _ours(model: Path, threads: int) -> float:
    with Worker({"model": str(model), "delegate": "cpu", "threads": threads}) as worker:
        worker.ask("open")
        worker.ask("warm_up", seconds=10)
        times: list[float] = worker.ask("time", runs=_RUNS, seconds=0)["runs_ms"]
        return statistics.median(times)


def _litert(model: Path, threads: int) -> float:
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
        last = done.stderr.strip().splitlines() or ["no word why"]
        raise InputError(f"{model}: LiteRT's benchmark failed ({last[-1]})")
    return float(found[1])
