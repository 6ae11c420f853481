"""How near a student came to its teacher on held-out photos: a report and a contact sheet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np

from bokeh_convert.data.calibration_data import to_network_input
from bokeh_convert.pynet.int8_aware import FakeQuantize
from bokeh_convert.report import fidelity_summary, to_json
from bokeh_convert.train.checkpoint import CHECKPOINT, read_checkpoint
from bokeh_convert.train.distill_state import DistillConfig, steps_of
from bokeh_convert.train.int8_aware import with_rounded_kernels
from bokeh_convert.train.student_choice import StudentConfig, cost_of
from bokeh_convert.train.teacher_outputs import HELD_OUT, Teacher, load_outputs, load_teacher
from bokeh_runtime.atomic_output import AtomicOutput
from bokeh_runtime.imaging.photo import FloatImage, save_photo
from bokeh_runtime.metrics.fidelity import Fidelity, compare
from bokeh_runtime.metrics.registry import conversion_metrics

REPORT, SHEET = "report.json", "heldout.png"
SCHEMA = "bokeh-tflite/distillation/1"
_SHOWN_PHOTOS = 6
_DIFFERENCE_GAIN = 8.0


def write_report(
    student: keras.Model,
    head: str,
    teacher: Path,
    run: Path,
    training: DistillConfig,
    network: StudentConfig | None,
) -> dict[str, Any]:
    """Compares a student with its teacher, and writes `report.json` and `heldout.png`.

    The columns of the sheet are the photo, the teacher, the student, the student with the rounding
    of static int8 if it was trained with it, and the difference from the teacher, eight times as
    large.

    Args:
        student: The result of `bokeh_convert.train.distill.distill`.
        head: Name of its output.
        teacher: Folder with the outputs of the teacher.
        run: Folder of the run.
        training: How it was trained.
        network: The network of the student; None if the teacher itself was trained on.

    Returns:
        The report, JSON data. `fidelity` is that of the student in float, and `int8_fidelity`
        that with the rounding; both against the teacher, in the form of conversion reports.

    Raises:
        InputError: If the folder cannot be written to.
    """
    views = load_outputs(teacher, HELD_OUT, [head])
    assert views is not None, "photos are always held out"
    inputs = [to_network_input(pixels) for pixels in views.inputs]
    expected = [output.astype(np.float32) for output in views.outputs[head]]
    rounds = any(isinstance(layer, FakeQuantize) for layer in student.layers)
    with _in_float(student):
        images = {"float": [_run(student, image) for image in inputs]}
    if rounds:
        rounding = with_rounded_kernels(student)
        images["int8"] = [_run(rounding, image) for image in inputs]
    found = {name: _fidelity(own, expected) for name, own in images.items()}
    described = load_teacher(teacher)
    report = {
        "schema": SCHEMA,
        "teacher": asdict(described),
        "student": None if network is None else _description(network, described),
        "training": asdict(training),
        "steps_done": _steps_done(run),
        "parameters": student.count_params(),
        "fidelity": found["float"],
        "int8_fidelity": found.get("int8"),
    }
    rows = [
        _row(inputs[i], expected[i], [own[i] for own in images.values()])
        for i in range(min(_SHOWN_PHOTOS, len(inputs)))
    ]
    with AtomicOutput(run) as staging:
        staging.path(REPORT).write_text(to_json(report), encoding="utf-8")
        save_photo(staging.path(SHEET), np.vstack(rows))
        staging.commit()
    return report


def _steps_done(run: Path) -> dict[str, int]:
    """Returns the steps by part; a part may end before the steps that it was given."""
    if not (run / CHECKPOINT).is_file():
        return {}
    return steps_of(read_checkpoint(run / CHECKPOINT)[1])


def _description(network: StudentConfig, teacher: Teacher) -> dict[str, Any]:
    cost = cost_of(network, teacher.size)
    return {
        "width": network.width,
        "kernels": network.form.kernels,
        "residual_blocks": network.form.residual_blocks,
        "multiplications": cost.multiplications,
        "static_cost": cost.instructions,
    }


@contextmanager
def _in_float(student: keras.Model) -> Iterator[None]:
    layers = [layer for layer in student.layers if isinstance(layer, FakeQuantize)]
    for layer in layers:
        layer.rounds = False
    try:
        yield
    finally:
        for layer in layers:
            layer.rounds = True


def _run(student: Callable[..., Any], image: FloatImage) -> FloatImage:
    output = keras.ops.convert_to_numpy(student(image[np.newaxis], training=False))
    return np.asarray(np.clip(output[0], 0, 1), np.float32)


def _fidelity(images: list[FloatImage], expected: list[FloatImage]) -> dict[str, Any]:
    metrics = conversion_metrics()
    compared = enumerate(zip(images, expected, strict=True))
    return fidelity_summary(
        Fidelity(
            [
                compare(f"held-out {number}", image, reference, border_px=0, metrics=metrics)
                for number, (image, reference) in compared
            ]
        )
    )


def _row(photo: FloatImage, teacher: FloatImage, students: list[FloatImage]) -> FloatImage:
    height, width = teacher.shape[:2]
    steps = (np.linspace(0, side - 1, goal).round().astype(int) for side, goal in
             zip(photo.shape[:2], (height, width), strict=True))  # fmt: skip
    rows, columns = steps
    shown = photo[rows][:, columns, :3]
    difference = np.clip(0.5 + _DIFFERENCE_GAIN * (students[-1] - teacher), 0, 1)
    return np.hstack([shown, teacher, *students, difference.astype(np.float32)])
