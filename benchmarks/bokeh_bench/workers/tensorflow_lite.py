"""Times .tflite files in TensorFlow's own interpreter, in an environment of its own.

`PYTHON tensorflow_lite.py JSON`, where PYTHON has TensorFlow and NumPy; this project need not be
installed there. JSON has `files` (paths by name), `runs` and `threads`. It prints JSON: `version`
of TensorFlow, `medians_s` (median run time of each file, in seconds) and `errors` (messages, for
the files that do not run). `bokeh_bench.studies.other_interpreter` calls it.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from typing import Any

import numpy as np
import tensorflow as tf


class Model:
    """A model in the interpreter, with XNNPACK as far as it runs the operators.

    Args:
        path: The .tflite file.
        threads: Number of CPU threads.
    """

    def __init__(self, path: str, threads: int) -> None:
        self._interpreter: Any = tf.lite.Interpreter(model_path=path, num_threads=threads)
        self._interpreter.allocate_tensors()
        entry = self._interpreter.get_input_details()[0]
        self._input = entry["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]
        # Random values: the time does not depend on them.
        values = np.random.default_rng(0).random(entry["shape"], np.float32)
        if entry["dtype"] != np.float32:
            limits = np.iinfo(entry["dtype"])
            values = limits.min + values * (float(limits.max) - limits.min)
        self._values = values.astype(entry["dtype"])

    def seconds(self) -> float:
        """Times one run: writing the input, inference, and reading the output back."""
        began = time.perf_counter()
        self._interpreter.set_tensor(self._input, self._values)
        self._interpreter.invoke()
        self._interpreter.get_tensor(self._output)
        return time.perf_counter() - began


def measure(files: dict[str, str], runs: int, threads: int) -> dict[str, Any]:
    """Times files in interleaved runs, after one warm-up run of each.

    The order is reversed in every other round, because the previous model changes the contents of
    the caches.
    """
    models, errors = {}, {}
    for name, path in files.items():
        try:
            model = Model(path, threads)
            model.seconds()
        except (RuntimeError, ValueError) as error:
            errors[name] = str(error).strip()
        else:
            models[name] = model
    times: dict[str, list[float]] = {name: [] for name in models}
    for i in range(runs):
        in_order = list(models.items())
        for name, model in in_order[::-1] if i % 2 else in_order:
            times[name].append(model.seconds())
    medians = {name: statistics.median(values) for name, values in times.items()}
    return {"version": tf.__version__, "medians_s": medians, "errors": errors}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(**json.loads(sys.argv[1]))) + "\n")
