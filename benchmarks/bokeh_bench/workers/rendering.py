"""Times the stages of rendering one photo, in a process of its own.

`python -m bokeh_bench.workers.rendering MODEL PHOTO FOLDER RUNS` prints JSON;
`bokeh_bench.studies.rendering` calls it.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np

from bokeh_bench.machine import peak_rss_bytes
from bokeh_bench.workers.load import busy_processes
from bokeh_runtime import BokehModel
from bokeh_runtime.render import RenderedFile, RenderOptions, render_file, render_files
from bokeh_runtime.render_jobs import Job

STAGES = ("decode_ms", "prepare_ms", "infer_ms", "fuse_ms", "encode_ms")
BUSY_PROCESSES = 2


def measure(model_path: Path, photo: Path, folder: Path, runs: int) -> dict[str, float]:
    """Measures the stages of rendering a photo.

    The inference alone and the whole rendering are interleaved, so that a noisy machine affects
    both.

    Returns:
        Median times in ms: each of `STAGES`; the same with the prefix `loaded_`, while
        `BUSY_PROCESSES` other processes keep the CPU busy; `alone_ms`, the inference alone; and
        `in_a_folder_ms`, the time per photo of a folder, where the next photo is read during
        inference. And `peak_rss_bytes`.
    """
    model = BokehModel.open(model_path, "cpu")
    tensor = np.random.default_rng(0).random(model.input_shape, np.float32)
    options = RenderOptions()
    job = Job(photo, folder / photo.name)
    inference_ms, rendered = [], []
    for _ in range(runs + 1):
        start = time.perf_counter()
        model.engine.run(tensor)
        inference_ms.append((time.perf_counter() - start) * 1000)
        rendered.append(render_file(model, job, options))
    jobs = [Job(photo, folder / f"{i}{photo.suffix}") for i in range(runs + 1)]
    ends = []
    for outcome in render_files(model, jobs, options):
        if not isinstance(outcome, RenderedFile):
            raise outcome
        ends.append(time.perf_counter())
    with busy_processes(BUSY_PROCESSES):
        loaded = [render_file(model, job, options) for _ in range(runs + 1)]
    # The first run of each is a warm-up, in which kernels are prepared.
    stages = {
        prefix + stage: statistics.median(one.timings[stage] for one in results[1:])
        for prefix, results in (("", rendered), ("loaded_", loaded))
        for stage in STAGES
    }
    return {
        **stages,
        "alone_ms": statistics.median(inference_ms[1:]),
        "in_a_folder_ms": (ends[-1] - ends[0]) * 1000 / runs,
        "peak_rss_bytes": peak_rss_bytes(),
    }


if __name__ == "__main__":
    model_file, photo_file, out, count = sys.argv[1:]
    print(json.dumps(measure(Path(model_file), Path(photo_file), Path(out), int(count))))
