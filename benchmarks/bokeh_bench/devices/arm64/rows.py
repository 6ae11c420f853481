"""Report rows of models on a phone's CPU kernels under QEMU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bokeh_bench import child_process
from bokeh_bench.devices.arm64.profiles import DEFAULT_PROFILE, Profile
from bokeh_bench.devices.arm64.runner import FOLDER, ArmRunner
from bokeh_bench.error_text import error_text
from bokeh_bench.measure.cases import ModelUnderTest, read_model_under_test
from bokeh_bench.measure.fidelity import measure_fidelity
from bokeh_bench.measure.references import FullModelReferences
from bokeh_bench.measure.rows import ModelFile, Row
from bokeh_runtime.errors import InputError

NOTE = "XNNPACK's kernels for a {cpu} under QEMU, one thread; times are not measured"


def measure_arm64(
    models: Sequence[Path],
    full_model: FullModelReferences,
    progress: Callable[[str], None],
    folder: Path = FOLDER,
    profile: Profile = DEFAULT_PROFILE,
    seconds: float = child_process.TIMEOUT_SECONDS,
) -> Iterator[Row]:
    """Yields a row of each model with its fidelity and instruction count, without a latency.

    Args:
        models: .tflite files.
        full_model: Source of the full model's reference outputs.
        progress: Called with a description of each step.
        folder: The environment; see `ArmRunner`.
        profile: The CPU; the rows' device is "arm64:" and its name.
        seconds: Time limit; see `ArmRunner`.

    Raises:
        MissingEnvironmentError: If the environment is missing.
    """
    runner: ArmRunner | None = None
    for path in models:
        progress(f"{path.name} on {profile.name}")
        row = Row(
            ModelFile(path.name),
            "cpu",
            threads=1,
            device=f"arm64:{profile.name}",
            notes=[NOTE.format(cpu=profile.name)],
        )
        try:
            model = read_model_under_test(path, full_model)
            runner = runner or ArmRunner(folder, profile, seconds)
            yield _measure(row, path, model, runner)
        except InputError as error:
            yield replace(row, failure=error_text(error), failure_kind="input")


def _measure(row: Row, path: Path, model: ModelUnderTest, runner: ArmRunner) -> Row:
    row = replace(row, model=model.summary, notes=[*row.notes, *model.notes])
    samples = model.reference_samples
    if samples:
        inputs = np.stack([sample.network_input for sample in samples])
    else:
        inputs = np.zeros((1, *model.input_shape), np.uint8)
    try:
        # Both processes load the model, pack weights and start Python, so the difference of their
        # counts is that of the additional inferences.
        one = runner.run(model.file.content, inputs[:1], model.ranges)
        more = runner.run(model.file.content, np.concatenate([inputs[:1], inputs]), model.ranges)
    except RuntimeError as error:
        raise InputError(f"{path}: {error}") from error
    fidelity, images, notes = measure_fidelity(
        "full_model", zip(samples, more.outputs[1:], strict=False)
    )
    return replace(
        row,
        instructions=round((more.instructions - one.instructions) / len(inputs)),
        fidelity=fidelity,
        sample_images=images,
        notes=[*row.notes, *notes],
    )
