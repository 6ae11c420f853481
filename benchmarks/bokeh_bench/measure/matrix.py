"""Measures models on delegates with thread counts, each in a process of its own."""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bokeh_bench import child_process
from bokeh_bench.measure.fidelity import fidelity_of
from bokeh_bench.measure.latency import Block, Latency, ratio
from bokeh_bench.measure.operator_times import measure_operators
from bokeh_bench.measure.references import Expectation, FullModel, GroundTruth
from bokeh_bench.measure.rows import ModelFile, Pair, Row
from bokeh_bench.workers.process import Worker
from bokeh_runtime.backends.placement import Placement
from bokeh_runtime.errors import HardwareError, InputError
from bokeh_runtime.imaging.photo import FloatImage
from bokeh_runtime.model import input_image_shape
from bokeh_runtime.tflite.file import TfliteFile, read_tflite
from bokeh_runtime.tflite.metadata import ModelMetadata, metadata_of

WARM_UP_SECONDS = 10.0
_AT_ONCE = 8  # pictures that are in memory at once
ROUNDS = 10
"""Of fresh processes, of two models that take turns: what their interval is made from."""


@dataclass(frozen=True)
class Cell:
    """What one row measures."""

    model: Path
    delegate: str
    threads: int | None


@dataclass(frozen=True)
class Settings:
    """How every row is measured.

    Attributes:
        runs, seconds: At least so many timed runs, and for so long.
        full_model: What the pictures are held against.
        ground_truth: And against what else, if given.
        operators: Whether to time operators.
        interpreter, delegate_library, allow_partial: See
            `bokeh_runtime.backends.delegates.EngineOptions`.
        timeout_seconds: A process that says nothing for so long is given up.
    """

    runs: int
    seconds: float
    full_model: FullModel
    ground_truth: GroundTruth | None = None
    operators: bool = True
    interpreter: str | None = None
    delegate_library: Path | None = None
    allow_partial: bool = False
    timeout_seconds: float = child_process.SECONDS


@dataclass(frozen=True)
class Subject:
    """A model file that has been read, and what its pictures are held against.

    Attributes:
        file: Its structure.
        metadata: What it says of itself; None if nothing.
        described: For the report.
        expectations: What the full model draws; empty without a reference.
        notes: What a reader must know.
    """

    file: TfliteFile
    metadata: ModelMetadata | None
    described: ModelFile
    expectations: Sequence[Expectation]
    notes: Sequence[str]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Height, width and channels."""
        return self.file.tensors[self.file.inputs[0]].shape[1:]


def cells(
    models: Sequence[Path], delegates: Sequence[str], threads: Sequence[int | None]
) -> list[Cell]:
    """Returns every combination; thread counts vary on the CPU alone."""
    return [
        Cell(model, delegate, count)
        for model in models
        for delegate in delegates
        for count in (threads if delegate in ("cpu", "auto") else threads[:1])
    ]


def measure(
    matrix: Sequence[Cell], settings: Settings, say: Callable[[str], None]
) -> Iterator[Row]:
    """Yields a row for each cell when it is done; what fails becomes a row with the reason."""
    for i, cell in enumerate(matrix):
        say(f"{i + 1} of {len(matrix)}: {cell.model.name} on {cell.delegate}")
        row = Row(ModelFile(cell.model.name), cell.delegate, cell.threads)
        try:
            subject = read_subject(cell.model, settings.full_model)
            row = replace(row, model=subject.described)
            if cell.delegate != "cpu":
                # A GPU's picture is checked once, which is no part of loading.
                with _worker(cell, settings) as worker:
                    worker.ask("open")
            with _worker(cell, settings) as worker:
                row = _measured(row, worker, subject, settings)
            if settings.operators and row.placement is not None:
                threads = cell.threads
                found, why = measure_operators(
                    cell.model, row.placement.delegate, threads, settings.timeout_seconds
                )
                row = replace(row, operators=found, operators_note=why)
        except InputError as error:
            row = replace(row, failure=str(error), failure_kind="input")
        except HardwareError as error:
            row = replace(row, failure=str(error), failure_kind="hardware")
        yield row


def take_turns(
    first: Cell, second: Cell, settings: Settings, say: Callable[[str], None]
) -> tuple[list[Row], Pair]:
    """Runs two models in turns, A B B A, in `ROUNDS` rounds of fresh processes; compares them.

    Raises:
        InputError, HardwareError: If one of them cannot run.
    """
    cells = (first, second)
    subjects = [read_subject(cell.model, settings.full_model) for cell in cells]
    rounds = []
    for number in range(ROUNDS):
        say(f"taking turns, round {number + 1} of {ROUNDS}")
        rounds.append(_round(cells, settings, number))
    rows = []
    for cell, subject, processes in zip(cells, subjects, zip(*rounds, strict=True), strict=True):
        say(f"drawing with {cell.model.name}")
        row = Row(subject.described, cell.delegate, cell.threads)
        row = replace(
            row,
            placement=Placement(**processes[0].opened["placement"]),
            latency=Latency(
                statistics.median(one.opened["load_ms"] for one in processes),
                statistics.median(one.warm["first_inference_ms"] for one in processes),
                max(one.warm["warm_up_runs"] for one in processes),
                runs_ms=[ms for one in processes for ms in one.runs_ms],
            ),
            peak_rss_bytes=max(one.peak_rss_bytes for one in processes),
        )
        with _worker(cell, settings) as worker:
            worker.ask("open")
            rows.append(_with_fidelity(row, worker, subject, settings))
    if rows[0].name == rows[1].name:
        rows[1] = replace(rows[1], model=replace(rows[1].model, name=f"{rows[1].model.name} again"))
    blocks: list[Block] = [(one.runs_ms, other.runs_ms) for one, other in rounds]
    turns = sum(len(one) for one, _ in blocks)
    return rows, Pair(rows[0].name, rows[1].name, ratio(blocks), turns, ROUNDS)


@dataclass(frozen=True)
class _Process:
    """What one process of a round measured."""

    opened: dict[str, Any]
    warm: dict[str, Any]
    runs_ms: Sequence[float]
    peak_rss_bytes: int


def _round(cells: tuple[Cell, Cell], settings: Settings, number: int) -> tuple[_Process, _Process]:
    """Starts a process for each model, and has them take turns.

    The one that runs second finds other caches and another clock than the first, so that the order
    is turned after each turn, and so is the order in which a round begins.
    """
    order = (0, 1) if number % 2 == 0 else (1, 0)
    runs_ms: tuple[list[float], list[float]] = ([], [])
    fewest = math.ceil(settings.runs / ROUNDS)
    with ExitStack() as stack:
        workers = {i: stack.enter_context(_worker(cells[i], settings)) for i in order}
        opened = {i: workers[i].ask("open") for i in order}
        warm = {i: workers[i].ask("warm_up", seconds=WARM_UP_SECONDS) for i in order}
        while (
            len(runs_ms[0]) < fewest
            or len(runs_ms[0]) % 2  # as often first as second
            or sum(runs_ms[0] + runs_ms[1]) < settings.seconds * 2000 / ROUNDS
        ):
            for i in order if len(runs_ms[0]) % 2 == 0 else order[::-1]:
                runs_ms[i].append(workers[i].ask("turn")["ms"])
        peaks = {i: workers[i].ask("time", runs=0, seconds=0)["peak_rss_bytes"] for i in order}
    one, other = (_Process(opened[i], warm[i], runs_ms[i], peaks[i]) for i in (0, 1))
    return one, other


def read_subject(path: Path, full_model: FullModel) -> Subject:
    """Reads a model file and what it is held against.

    Raises:
        InputError: If the file or the reference cannot be read, or it is not from image to image.
    """
    file = read_tflite(path)
    metadata = metadata_of(file)
    shape = input_image_shape(file)
    reference, notes = full_model.reference_for(path, metadata, shape)
    expectations = (
        [
            Expectation(name, pixels, np.asarray(wanted, np.float32))
            for name, pixels, wanted in zip(
                reference.names, reference.inputs, reference.outputs, strict=True
            )
        ]
        if reference
        else []
    )
    channels = {3: "RGB", 4: "RGB + depth"}[shape[2]]
    described = ModelFile(
        path.name,
        file.sha256,
        len(file.content),
        metadata.scheme if metadata else "",
        f"{shape[0]} x {shape[1]} {channels}",
    )
    return Subject(file, metadata, described, expectations, notes)


def _measured(row: Row, worker: Worker, subject: Subject, settings: Settings) -> Row:
    opened = worker.ask("open")
    warm = worker.ask("warm_up", seconds=WARM_UP_SECONDS)
    timed = worker.ask("time", runs=settings.runs, seconds=settings.seconds)
    row = replace(
        row,
        placement=Placement(**opened["placement"]),
        latency=Latency(opened["load_ms"], **warm, runs_ms=timed["runs_ms"]),
        temperature_c=timed["temperature_c"],
        peak_rss_bytes=timed["peak_rss_bytes"],
    )
    return _with_fidelity(row, worker, subject, settings)


def _with_fidelity(row: Row, worker: Worker, subject: Subject, settings: Settings) -> Row:
    assert row.latency is not None
    assert row.placement is not None
    notes = [*subject.notes, *row.placement.notes, *row.latency.notes]
    fidelity, pictures, faults = fidelity_of("full_model", _drawn(worker, subject.expectations))
    if settings.ground_truth is not None:
        metadata = subject.metadata
        pairs = settings.ground_truth.expectations(
            subject.input_shape,
            metadata.output_scale if metadata else 1.0,
            metadata.resampling if metadata else "area",
        )
        truth, _, more = fidelity_of("ground_truth", _drawn(worker, pairs))
        fidelity = [*fidelity, *truth]
        faults = [*faults, *settings.ground_truth.notes, *more]
    return replace(row, fidelity=fidelity, pictures=pictures, notes=[*notes, *faults])


def _drawn(
    worker: Worker, expectations: Sequence[Expectation] | Iterator[Expectation]
) -> Iterator[tuple[Expectation, FloatImage]]:
    waiting: list[Expectation] = []
    with tempfile.TemporaryDirectory() as folder:
        inputs, outputs = Path(folder, "inputs.npy"), Path(folder, "outputs.npy")

        def drawn() -> Iterator[tuple[Expectation, FloatImage]]:
            if waiting:
                np.save(inputs, np.stack([one.pixels for one in waiting]))
                worker.ask("draw", inputs=str(inputs), outputs=str(outputs))
                yield from zip(waiting, np.load(outputs), strict=True)
                waiting.clear()

        for expectation in expectations:
            waiting.append(expectation)
            if len(waiting) == _AT_ONCE:
                yield from drawn()
        yield from drawn()


def _worker(cell: Cell, settings: Settings) -> Worker:
    request: dict[str, Any] = {
        "model": str(cell.model),
        "delegate": cell.delegate,
        "threads": cell.threads,
        "interpreter": settings.interpreter,
        "allow_partial": settings.allow_partial,
    }
    if settings.delegate_library is not None:
        request["delegate_library"] = str(settings.delegate_library)
    return Worker(request, settings.timeout_seconds)
