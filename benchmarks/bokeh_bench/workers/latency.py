"""One model on one delegate, in a process of its own.

`python -m bokeh_bench.workers.latency JSON` with `model`, `delegate` and, if wanted, `threads`,
`interpreter`, `delegate_library`, `allow_partial`. Then a JSON line on standard input is a task,
and a JSON line on standard output what came of it:

    {"do": "open"}                                  -> load_ms, placement
    {"do": "warm_up", "seconds": 10}                -> first_inference_ms, warm_up_runs
    {"do": "time", "runs": 20, "seconds": 5}        -> runs_ms, temperature_c, peak_rss_bytes
    {"do": "turn"}                                  -> ms
    {"do": "draw", "inputs": FILE, "outputs": FILE} -> nothing; .npy files

or `fault` (the error's class) and `message`. Before an answer, a line {"alive": true} each second
or so says that runs end. Imports what the measurement needs, and no more.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bokeh_bench.machine import peak_rss_bytes, temperature_c
from bokeh_runtime.backends.delegates import Engine, EngineOptions, open_engine
from bokeh_runtime.contract.constants import BENCHMARK
from bokeh_runtime.errors import HardwareError, InputError
from bokeh_runtime.imaging.photo import FloatImage, to_unit
from bokeh_runtime.tflite.file import read_tflite

MOST_RUNS = BENCHMARK.max_runs
_ALIVE_SECONDS = 1.0
_WINDOW, _STEADY = BENCHMARK.warm_up_window_runs, BENCHMARK.warm_up_tolerance
"""Steady: the medians of the last runs and of those before differ by so much at most."""


class Measurement:
    """The model, and the clock.

    Args:
        request: What to measure; see the module.
        on_run: Called after each run, outside of what is timed.

    Attributes:
        image: What the timed runs are fed.
    """

    image: FloatImage

    def __init__(self, request: dict[str, Any], on_run: Callable[[], None] = lambda: None) -> None:
        self._on_run = on_run
        self._path = Path(request.pop("model"))
        library = request.pop("delegate_library", None)
        self._request = EngineOptions(**request, library=None if library is None else Path(library))
        self._engine: Engine | None = None

    def open(self) -> dict[str, Any]:
        """Opens the model; the clock runs from the file to the first run's beginning."""
        if self._engine is not None:
            self._engine.close()
        start = time.perf_counter()
        file = read_tflite(self._path)
        self._engine = open_engine(file, self._request)
        load_ms = (time.perf_counter() - start) * 1000
        shape = file.tensors[file.inputs[0]].shape[1:]
        # Noise, as LiteRT's own benchmark feeds; the time does not depend on the picture.
        self.image = np.random.default_rng(0).random(shape, np.float32)
        return {"load_ms": load_ms, "placement": asdict(self._engine.placement)}

    def warm_up(self, seconds: float) -> dict[str, Any]:
        """Runs until the times are steady, or for `seconds`; twice at least."""
        times = [self.turn()["ms"], self.turn()["ms"]]
        while sum(times) < seconds * 1000 and not _steady(times):
            times.append(self.turn()["ms"])
        return {"first_inference_ms": times[0], "warm_up_runs": len(times)}

    def time(self, runs: int, seconds: float) -> dict[str, Any]:
        """Times `runs` runs at least, and for `seconds` at least."""
        before = temperature_c()
        times: list[float] = []
        while len(times) < runs or (sum(times) < seconds * 1000 and len(times) < MOST_RUNS):
            times.append(self.turn()["ms"])
        return {
            "runs_ms": times,
            "temperature_c": None if before is None else [before, temperature_c()],
            "peak_rss_bytes": peak_rss_bytes(),
        }

    def turn(self) -> dict[str, Any]:
        """Times one run: the picture in, the run, the picture read back."""
        run, image = self.ready.run, self.image
        start = time.perf_counter_ns()
        run(image)
        milliseconds = (time.perf_counter_ns() - start) / 1e6
        self._on_run()
        return {"ms": milliseconds}

    def draw(self, inputs: str, outputs: str) -> dict[str, Any]:
        """Draws 8-bit pictures [n, height, width, channels]; writes float32, not clipped."""
        pictures: list[FloatImage] = []
        for one in np.load(inputs):
            pictures.append(self.ready.run(to_unit(one)))
            self._on_run()
        np.save(outputs, np.stack(pictures))
        return {}

    @property
    def ready(self) -> Engine:
        """The opened model."""
        assert self._engine is not None
        return self._engine


def _steady(times: list[float]) -> bool:
    if len(times) < 2 * _WINDOW:
        return False
    now, before = (
        statistics.median(part) for part in (times[-_WINDOW:], times[-2 * _WINDOW : -_WINDOW])
    )
    return abs(now / before - 1) <= _STEADY


def main() -> None:
    """Does what standard input says until it ends."""
    # LiteRT writes to both of them; the answers have a way of their own.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    told = time.monotonic()

    def tell(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    def alive() -> None:
        nonlocal told
        if time.monotonic() - told > _ALIVE_SECONDS:
            told = time.monotonic()
            tell({"alive": True})

    measurement = Measurement(json.loads(sys.argv[1]), alive)
    for line in sys.stdin:
        task = json.loads(line)
        do: Callable[..., dict[str, Any]] = getattr(measurement, task.pop("do"))
        try:
            answer = do(**task)
        except (InputError, HardwareError) as error:
            answer = {"fault": type(error).__name__, "message": str(error)}
        tell(answer)


if __name__ == "__main__":
    main()
