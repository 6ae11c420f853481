"""Benchmark rows of models on a phone's CPU kernels, under QEMU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bokeh_bench import child_process
from bokeh_bench.devices.arm64.runner import CPU, FOLDER, ArmRunner, MissingEnvironmentError
from bokeh_bench.measure.fidelity import fidelity_of
from bokeh_bench.measure.matrix import Subject, read_subject
from bokeh_bench.measure.references import FullModel
from bokeh_bench.measure.rows import ModelFile, Row
from bokeh_runtime.errors import HardwareError, InputError

NOTE = f"XNNPACK's kernels for a {CPU} under QEMU, one thread; no time means anything there"


def measure_arm64(
    models: Sequence[Path],
    full_model: FullModel,
    say: Callable[[str], None],
    folder: Path = FOLDER,
    seconds: float = child_process.SECONDS,
) -> Iterator[Row]:
    """Yields fidelity and instructions of each model; never a time.

    Args:
        models: .tflite files.
        full_model: What their pictures are held against.
        say: Told what is being done.
        folder: The environment.
        seconds: See `ArmRunner`.

    Raises:
        HardwareError: If the environment has not been made.
    """
    runner: ArmRunner | None = None
    for path in models:
        say(f"{path.name} on {CPU}")
        row = Row(ModelFile(path.name), "cpu", threads=1, device="arm64", notes=[NOTE])
        try:
            subject = read_subject(path, full_model)
            runner = runner or _runner(folder, seconds)
            yield _measured(row, path, subject, runner)
        except InputError as error:
            yield replace(row, failure=str(error), failure_kind="input")


def _runner(folder: Path, seconds: float) -> ArmRunner:
    try:
        return ArmRunner(folder, seconds)
    except MissingEnvironmentError as error:
        raise HardwareError(str(error)) from error


def _measured(row: Row, path: Path, subject: Subject, runner: ArmRunner) -> Row:
    row = replace(row, model=subject.described, notes=[*row.notes, *subject.notes])
    expectations = subject.expectations
    if expectations:
        inputs = np.stack([one.pixels for one in expectations])
    else:
        inputs = np.zeros((1, *subject.input_shape), np.uint8)
    try:
        # Loading, packing of weights and Python are in both; the inferences between are not.
        one = runner.run(subject.file.content, inputs[:1])
        more = runner.run(subject.file.content, np.concatenate([inputs[:1], inputs]))
    except RuntimeError as error:
        raise InputError(f"{path}: {error}") from error
    fidelity, pictures, notes = fidelity_of(
        "full_model", zip(expectations, more.outputs[1:], strict=False)
    )
    return replace(
        row,
        instructions=round((more.instructions - one.instructions) / len(inputs)),
        fidelity=fidelity,
        pictures=pictures,
        notes=[*row.notes, *notes],
    )
