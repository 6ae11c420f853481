"""Measures one model on one delegate, in a process of its own.

`python -m bokeh_bench.workers.latency JSON`, where JSON has `model`, `delegate` and optionally
`threads`, `interpreter`, `delegate_library`, `allow_partial`, `input_range` and `output_range`
(each [low, high]), `signature` and `size` ([height, width]). Then each line on standard input is a
task in JSON, and a line of JSON on standard output answers it:

    {"task": "open"}                                    -> load_ms, placement
    {"task": "warm_up", "seconds": 10}                  -> first_inference_ms, warm_up_runs
    {"task": "time", "runs": 20, "seconds": 5}          -> runs_ms, temperature_c, peak_rss_bytes
    {"task": "time_one_run"}                            -> ms
    {"task": "infer", "inputs": FILE, "outputs": FILE}  -> nothing; both are .npy files

An error is answered with `error` (its class) and `message`. While a task runs, a line
{"alive": true} is sent about once per second, after a run. The module imports only what the
measurement needs.
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

from bokeh_bench.error_text import error_text
from bokeh_bench.machine import peak_rss_bytes, temperature_c
from bokeh_runtime.backends.delegates import Engine, EngineOptions, open_engine
from bokeh_runtime.contract.constants import BENCHMARK
from bokeh_runtime.errors import HardwareError, InputError
from bokeh_runtime.imaging.photo import FloatImage, to_unit
from bokeh_runtime.tflite.file import read_tflite
from bokeh_runtime.tflite.value_range import ValueRange

MAX_RUNS = BENCHMARK.max_runs
_ALIVE_SECONDS = 1.0
_WINDOW, _STEADY = BENCHMARK.warm_up_window_runs, BENCHMARK.warm_up_tolerance
"""Times are steady if the medians of the last runs and of those before differ by at most this."""


class Measurement:
    """Times the runs of one model.

    Args:
        request: What to measure; see the module's docstring.
        on_run: Called after each run, outside the timed section.

    Attributes:
        network_input: Input of the timed runs, float32 [height, width, channels] in [0, 1].
    """

    network_input: FloatImage

    def __init__(self, request: dict[str, Any], on_run: Callable[[], None] = lambda: None) -> None:
        self._on_run = on_run
        self._path = Path(request.pop("model"))
        self._options = engine_options(request)
        self._engine: Engine | None = None

    def open(self) -> dict[str, Any]:
        """Opens the model; the clock runs from the file to the first run's beginning."""
        if self._engine is not None:
            self._engine.close()
        start = time.perf_counter()
        file = self._options.graph_of(read_tflite(self._path))
        self._engine = open_engine(file, self._options)
        load_ms = (time.perf_counter() - start) * 1000
        shape = file.tensors[file.inputs[0]].shape[1:]
        # Random values, as in LiteRT's own benchmark; the time does not depend on them.
        self.network_input = np.random.default_rng(0).random(shape, np.float32)
        return {"load_ms": load_ms, "placement": asdict(self._engine.placement)}

    def warm_up(self, seconds: float) -> dict[str, Any]:
        """Runs at least twice, until the times are steady or `seconds` have passed."""
        times = [self.time_one_run()["ms"], self.time_one_run()["ms"]]
        while sum(times) < seconds * 1000 and not _steady(times):
            times.append(self.time_one_run()["ms"])
        return {"first_inference_ms": times[0], "warm_up_runs": len(times)}

    def time(self, runs: int, seconds: float) -> dict[str, Any]:
        """Times at least `runs` runs, for at least `seconds` in total."""
        before = temperature_c()
        times: list[float] = []
        while len(times) < runs or (sum(times) < seconds * 1000 and len(times) < MAX_RUNS):
            times.append(self.time_one_run()["ms"])
        return {
            "runs_ms": times,
            "temperature_c": None if before is None else [before, temperature_c()],
            "peak_rss_bytes": peak_rss_bytes(),
        }

    def time_one_run(self) -> dict[str, Any]:
        """Times one run: writing the input, inference, and reading the output back."""
        run, network_input = self.engine.run, self.network_input
        start = time.perf_counter_ns()
        run(network_input)
        milliseconds = (time.perf_counter_ns() - start) / 1e6
        self._on_run()
        return {"ms": milliseconds}

    def infer(self, inputs: str, outputs: str) -> dict[str, Any]:
        """Runs the model on uint8 inputs [n, height, width, channels].

        Writes float32 outputs [n, height, width, 3 or 1], not clipped.
        """
        results: list[FloatImage] = []
        for pixels in np.load(inputs):
            results.append(self.engine.run(to_unit(pixels)))
            self._on_run()
        np.save(outputs, np.stack(results))
        return {}

    @property
    def engine(self) -> Engine:
        """The opened model."""
        assert self._engine is not None
        return self._engine


def engine_request(options: EngineOptions) -> dict[str, Any]:
    """Returns options as a part of a request; `engine_options` reads it."""
    ranges = {"input_range": options.input_range, "output_range": options.output_range}
    return {
        "delegate": options.delegate,
        "threads": options.threads,
        "interpreter": options.interpreter,
        "delegate_library": None if options.library is None else str(options.library),
        "allow_partial": options.allow_partial,
        **{name: None if one is None else [one.low, one.high] for name, one in ranges.items()},
        "signature": options.signature,
        "size": options.size,
    }


def engine_options(request: dict[str, Any]) -> EngineOptions:
    """Returns the options of a request."""
    values = dict(request)
    library = values.pop("delegate_library", None)
    for name in ("input_range", "output_range"):
        if values.get(name) is not None:
            values[name] = ValueRange(*values[name])
    if values.get("size") is not None:
        values["size"] = tuple(values["size"])
    return EngineOptions(**values, library=None if library is None else Path(library))


def _steady(times: list[float]) -> bool:
    if len(times) < 2 * _WINDOW:
        return False
    last, before = (
        statistics.median(part) for part in (times[-_WINDOW:], times[-2 * _WINDOW : -_WINDOW])
    )
    return abs(last / before - 1) <= _STEADY


def main() -> None:
    """Does the tasks on standard input until it ends."""
    # LiteRT writes to standard output and standard error, so the answers get a descriptor of their
    # own.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    last_sent = time.monotonic()

    def send(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    def send_alive() -> None:
        nonlocal last_sent
        if time.monotonic() - last_sent > _ALIVE_SECONDS:
            last_sent = time.monotonic()
            send({"alive": True})

    measurement = Measurement(json.loads(sys.argv[1]), send_alive)
    for line in sys.stdin:
        arguments = json.loads(line)
        method: Callable[..., dict[str, Any]] = getattr(measurement, arguments.pop("task"))
        try:
            answer = method(**arguments)
        except (InputError, HardwareError) as error:
            answer = {"error": type(error).__name__, "message": error_text(error)}
        send(answer)


if __name__ == "__main__":
    main()
