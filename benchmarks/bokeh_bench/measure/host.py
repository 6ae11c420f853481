"""Benchmarks models on this machine, each case in a separate process."""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bokeh_bench import child_process
from bokeh_bench.error_text import error_text
from bokeh_bench.measure.cases import (
    WARM_UP_SECONDS,
    BenchmarkCase,
    ModelUnderTest,
    read_model_under_test,
)
from bokeh_bench.measure.fidelity import measure_fidelity
from bokeh_bench.measure.latency import Block, Latency, estimate_latency_ratio
from bokeh_bench.measure.operator_times import measure_operator_times
from bokeh_bench.measure.references import FullModelReferences, GroundTruth, ReferenceSample
from bokeh_bench.measure.rows import ModelFile, PairedComparison, Row
from bokeh_bench.workers.latency import engine_request
from bokeh_bench.workers.process import Worker
from bokeh_convert.data.calibration_data import read_sample, split_dataset
from bokeh_runtime.backends.delegates import EngineOptions
from bokeh_runtime.backends.placement import Placement
from bokeh_runtime.errors import HardwareError, InputError
from bokeh_runtime.imaging.photo import FloatImage, to_unit
from bokeh_runtime.range_note import range_note

_BATCH_IMAGES = 8  # images that are in memory at the same time
ROUNDS = 10
"""Number of rounds, with fresh processes each, of an interleaved measurement of two models."""


@dataclass(frozen=True)
class Settings:
    """How every case is measured.

    Attributes:
        runs: Minimum number of timed runs.
        seconds: Minimum total time of the timed runs.
        full_model: Source of the full model's reference outputs.
        ground_truth: Pairs of photo and target to compare with as well; None for none.
        time_operators: Whether to profile the operators.
        engine: How to run the models. Its delegate and threads are replaced by the case's.
        timeout_seconds: A worker process that sends nothing for this long is killed.
    """

    runs: int
    seconds: float
    full_model: FullModelReferences
    ground_truth: GroundTruth | None = None
    time_operators: bool = True
    engine: EngineOptions = field(default_factory=EngineOptions)
    timeout_seconds: float = child_process.TIMEOUT_SECONDS


def measure(
    cases: Sequence[BenchmarkCase], settings: Settings, progress: Callable[[str], None]
) -> Iterator[Row]:
    """Yields the row of each case when it is done. A case that fails yields a row with the reason.

    Args:
        cases: What to measure.
        settings: How to measure it.
        progress: Called with a description of each step.
    """
    for i, case in enumerate(cases):
        progress(f"{i + 1} of {len(cases)}: {case.model.name} on {case.delegate}")
        row = Row(ModelFile(case.model.name), case.delegate, case.threads)
        try:
            model = read_model_under_test(case.model, settings.full_model, settings.engine)
            row = replace(row, model=model.summary)
            if case.delegate != "cpu":
                # The one-time check of a GPU's output, whose verdict is cached, must not count
                # as load time.
                with _worker(case, settings) as worker:
                    worker.call("open")
            with _worker(case, settings) as worker:
                row = _measure_case(row, worker, model, settings)
            if settings.time_operators and row.placement is not None:
                times, note = measure_operator_times(
                    model.file, row.placement.delegate, case.threads, settings.timeout_seconds
                )
                row = replace(row, operator_times=times, operator_times_note=note)
        except InputError as error:
            row = replace(row, failure=error_text(error), failure_kind="input")
        except HardwareError as error:
            row = replace(row, failure=error_text(error), failure_kind="hardware")
        yield row


def measure_interleaved(
    first: BenchmarkCase,
    second: BenchmarkCase,
    settings: Settings,
    progress: Callable[[str], None],
) -> tuple[list[Row], PairedComparison]:
    """Measures two models in interleaved runs (A B B A) and compares their latency.

    There are `ROUNDS` rounds, each with fresh processes.

    Raises:
        InputError: If one of them cannot be read or run.
        HardwareError: If a delegate is not available or fails.
    """
    cases = (first, second)
    full_model, engine = settings.full_model, settings.engine
    models = [read_model_under_test(case.model, full_model, engine) for case in cases]
    rounds = []
    for number in range(ROUNDS):
        progress(f"interleaved runs, round {number + 1} of {ROUNDS}")
        rounds.append(_run_round(cases, settings, number))
    rows = []
    for case, model, processes in zip(cases, models, zip(*rounds, strict=True), strict=True):
        progress(f"fidelity of {case.model.name}")
        row = Row(model.summary, case.delegate, case.threads)
        row = replace(
            row,
            placement=Placement(**processes[0].opened["placement"]),
            latency=Latency(
                statistics.median(one.opened["load_ms"] for one in processes),
                statistics.median(one.warm_up["first_inference_ms"] for one in processes),
                max(one.warm_up["warm_up_runs"] for one in processes),
                runs_ms=[ms for one in processes for ms in one.runs_ms],
            ),
            peak_rss_bytes=max(one.peak_rss_bytes for one in processes),
        )
        with _worker(case, settings) as worker:
            worker.call("open")
            rows.append(_with_fidelity(row, worker, model, settings))
    if rows[0].name == rows[1].name:
        rows[1] = replace(rows[1], model=replace(rows[1].model, name=f"{rows[1].model.name} again"))
    blocks: list[Block] = [(one.runs_ms, other.runs_ms) for one, other in rounds]
    runs = sum(len(one) for one, _ in blocks)
    ratio = estimate_latency_ratio(blocks)
    return rows, PairedComparison(rows[0].name, rows[1].name, ratio, runs, ROUNDS)


@dataclass(frozen=True)
class _RoundResult:
    """What one model's process measured in one round.

    Attributes:
        opened, warm_up: The worker's answers to "open" and "warm_up".
    """

    opened: dict[str, Any]
    warm_up: dict[str, Any]
    runs_ms: Sequence[float]
    peak_rss_bytes: int


def _run_round(
    cases: tuple[BenchmarkCase, BenchmarkCase], settings: Settings, number: int
) -> tuple[_RoundResult, _RoundResult]:
    """Starts a process for each model and alternates their runs.

    The model that runs second finds other cache contents and another clock than the first.
    Therefore the order is reversed after each pair of runs, and so is the order in which each
    round starts.
    """
    order = (0, 1) if number % 2 == 0 else (1, 0)
    runs_ms: tuple[list[float], list[float]] = ([], [])
    min_runs = math.ceil(settings.runs / ROUNDS)
    with ExitStack() as stack:
        workers = {i: stack.enter_context(_worker(cases[i], settings)) for i in order}
        opened = {i: workers[i].call("open") for i in order}
        warm_up = {i: workers[i].call("warm_up", seconds=WARM_UP_SECONDS) for i in order}
        while (
            len(runs_ms[0]) < min_runs
            or len(runs_ms[0]) % 2  # as often first as second
            or sum(runs_ms[0] + runs_ms[1]) < settings.seconds * 2000 / ROUNDS
        ):
            for i in order if len(runs_ms[0]) % 2 == 0 else order[::-1]:
                runs_ms[i].append(workers[i].call("time_one_run")["ms"])
        peaks = {i: workers[i].call("time", runs=0, seconds=0)["peak_rss_bytes"] for i in order}
    one, other = (_RoundResult(opened[i], warm_up[i], runs_ms[i], peaks[i]) for i in (0, 1))
    return one, other


def _measure_case(row: Row, worker: Worker, model: ModelUnderTest, settings: Settings) -> Row:
    opened = worker.call("open")
    warm_up = worker.call("warm_up", seconds=WARM_UP_SECONDS)
    timed = worker.call("time", runs=settings.runs, seconds=settings.seconds)
    row = replace(
        row,
        placement=Placement(**opened["placement"]),
        latency=Latency(opened["load_ms"], **warm_up, runs_ms=timed["runs_ms"]),
        temperature_c=timed["temperature_c"],
        peak_rss_bytes=timed["peak_rss_bytes"],
    )
    return _with_fidelity(row, worker, model, settings)


def _with_fidelity(row: Row, worker: Worker, model: ModelUnderTest, settings: Settings) -> Row:
    assert row.latency is not None
    assert row.placement is not None
    notes = [*model.notes, *row.placement.notes, *row.latency.notes]
    fidelity, images, fidelity_notes = measure_fidelity(
        "full_model", _infer(worker, model.reference_samples)
    )
    metadata = model.metadata
    output_scale, note = (
        (metadata.output_scale, None) if metadata else _check_without_metadata(worker, model)
    )
    if note is not None:
        fidelity_notes = [*fidelity_notes, note]
    if settings.ground_truth is not None:
        samples = settings.ground_truth.reference_samples(
            model.input_shape, output_scale, metadata.resampling if metadata else "area"
        )
        to_truth, _, truth_notes = measure_fidelity("ground_truth", _infer(worker, samples))
        fidelity = [*fidelity, *to_truth]
        fidelity_notes = [*fidelity_notes, *settings.ground_truth.notes, *truth_notes]
    return replace(row, fidelity=fidelity, sample_images=images, notes=[*notes, *fidelity_notes])


def _check_without_metadata(worker: Worker, model: ModelUnderTest) -> tuple[float, str | None]:
    """Returns the output scale of a file of another tool, and a note if its output is wrong."""
    height, width, channels = model.input_shape
    samples = list(model.reference_samples)
    if not samples:
        photo = split_dataset(None, channels=channels, count=1, seed=0).verification[0]
        pixels = read_sample(photo, height, width, channels)
        samples = [ReferenceSample(photo.name, pixels, np.zeros(0, np.float32))]
    outputs = [
        (to_unit(sample.network_input), output) for sample, output in _infer(worker, samples)
    ]
    return outputs[0][1].shape[0] / height, range_note(outputs, model.ranges)


def _infer(
    worker: Worker, samples: Iterable[ReferenceSample]
) -> Iterator[tuple[ReferenceSample, FloatImage]]:
    """Yields each sample with the model's output, [height, width, 1 or 3], not clipped."""
    batch: list[ReferenceSample] = []
    with tempfile.TemporaryDirectory() as folder:
        inputs, outputs = Path(folder, "inputs.npy"), Path(folder, "outputs.npy")

        def infer_batch() -> Iterator[tuple[ReferenceSample, FloatImage]]:
            if batch:
                np.save(inputs, np.stack([sample.network_input for sample in batch]))
                worker.call("infer", inputs=str(inputs), outputs=str(outputs))
                yield from zip(batch, np.load(outputs), strict=True)
                batch.clear()

        for sample in samples:
            batch.append(sample)
            if len(batch) == _BATCH_IMAGES:
                yield from infer_batch()
        yield from infer_batch()


def _worker(case: BenchmarkCase, settings: Settings) -> Worker:
    options = replace(settings.engine, delegate=case.delegate, threads=case.threads)
    request = {"model": str(case.model), **engine_request(options)}
    return Worker(request, settings.timeout_seconds)
