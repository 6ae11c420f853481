"""The commands `bokeh-train distill` and `bokeh-train finetune`."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bokeh_convert.train.console import Terminal, run_command
from bokeh_convert.train.distill_options import (
    AT_LEAST_ONE,
    COUNT,
    INT8_AWARE,
    INT8_STEPS,
    RATE,
    TEACHER_OPTIONS,
    TRAINING_OPTIONS,
    WEIGHT,
    WIDTH,
    refuse_given,
    refuse_int8_options,
)
from bokeh_convert.train.overwriting import refuse_overwriting
from bokeh_runtime.errors import InputError
from bokeh_runtime.finite_range import FiniteRange

if TYPE_CHECKING:
    from bokeh_convert.sources.options import SourceOptions
    from bokeh_convert.train.student_choice import StudentConfig

_TEACHER = "teacher"
"""Folder in a run with the outputs of the teacher."""
_MODEL = "model.h5"
"""File in a run with the trained network."""


@click.command()
@TEACHER_OPTIONS
@click.option(
    "--width", type=WIDTH, help="Channel multiplier of the student. Default: the teacher's."
)
@click.option(
    "--kernels",
    type=click.Choice(["whole", "factorized", "stacked"]),
    default="factorized",
    show_default=True,
    help="Kernels wider than 3 x 3: as they are, as k x 1 and 1 x k, or as stacked 3 x 3.",
)
@click.option(
    "--residual-blocks",
    type=click.IntRange(0, 3),
    default=3,
    show_default=True,
    help="Blocks that add their input, per level.",
)
@click.option(
    "--speedup",
    type=FiniteRange(min=1),
    help="Choose width, kernels and blocks for 1/N of the teacher's cost.",
)
@click.option(
    "--steps",
    "crop_steps",
    type=COUNT,
    default=3000,
    show_default=True,
    help="Optimizer steps on crops.",
)
@click.option(
    "--whole-steps",
    type=COUNT,
    default=600,
    show_default=True,
    help="Then, steps on whole views.",
)
@INT8_AWARE
@INT8_STEPS
@click.option(
    "--learning-rate", type=RATE, default=1e-3, show_default=True, help="Peak learning rate."
)
@TRAINING_OPTIONS
def distill(**options: Any) -> None:
    """Train a smaller network that draws what TEACHER draws, from photos without ground truth.

    TEACHER is any model that bokeh-convert reads. It is run once, and its outputs are stored in the
    output folder. The student is a PyNET; that of a PyNET starts from its weights.
    """
    run_command(distill, lambda terminal: _distill(terminal, options), resume_in=options["run"])


@click.command()
@TEACHER_OPTIONS
@click.option(
    "--steps",
    "int8_steps",
    type=AT_LEAST_ONE,
    default=400,
    show_default=True,
    help="Optimizer steps.",
)
@click.option(
    "--feature-weight",
    type=WEIGHT,
    default=0.1,
    show_default=True,
    help="Weight of the error of activations inside of the network, which keeps it from changing "
    "on other photos than it is trained on.",
)
@click.option(
    "--frozen-below",
    type=FiniteRange(0, 1),
    default=0.5,
    show_default=True,
    help="Layers whose output has less than this share of the height of the network's keep their "
    "weights: they decide what is sharp, and grain comes from the finer ones.",
)
@TRAINING_OPTIONS
def finetune(**options: Any) -> None:
    """Train a Keras 3 model on with the rounding of static int8, to which its weights adapt.

    It learns to draw in int8 what TEACHER, the model itself, draws in float.
    """
    run_command(finetune, lambda terminal: _finetune(terminal, options), resume_in=options["run"])


def _distill(terminal: Terminal, options: dict[str, Any]) -> None:
    run = options["run"]
    if options["speedup"] is not None:
        chosen = ("width", "kernels", "residual_blocks")
        refuse_given(chosen, "has no effect with --speedup, which chooses it; give one of both")
    if not options["int8_aware"]:
        refuse_int8_options()
        options = {**options, "int8_steps": 0}
    _refuse_overwriting(options)
    _run_teacher(terminal, options)
    from bokeh_convert.process_state import random_state
    from bokeh_convert.pynet.network import Form
    from bokeh_convert.train.student import initialize_from_teacher
    from bokeh_convert.train.student_choice import student_for, student_like
    from bokeh_convert.train.teacher_outputs import load_teacher, load_weights

    teacher = load_teacher(run / _TEACHER)
    if options["speedup"] is not None:
        student = student_for(teacher, options["speedup"])
    else:
        form = Form(options["kernels"], residual_blocks=options["residual_blocks"])
        student = student_like(teacher, width=options["width"], form=form)
    with random_state(options["seed"]):
        network = student.build()
    started = initialize_from_teacher(network, load_weights(run / _TEACHER))
    note = f"{started} layers start from the teacher's weights" if started else "starts at random"
    form = student.form
    terminal.note(
        f"student: width {student.width:g}, {form.kernels} kernels, "
        f"{form.residual_blocks} residual blocks; {note}"
    )
    _train(terminal, network, student.heads, options, student)


def _finetune(terminal: Terminal, options: dict[str, Any]) -> None:
    from bokeh_convert.pynet.int8_aware import FakeQuantize
    from bokeh_convert.sources.keras3 import open_keras3
    from bokeh_convert.train.teacher_outputs import load_teacher

    _refuse_overwriting(options)
    network: Any = open_keras3(options["teacher"], _source_options(options))
    if any(isinstance(layer, FakeQuantize) for layer in network.layers):
        raise InputError(
            f"{options['teacher']}: was trained with rounding already; give the model it came from"
        )
    if len(network.inputs) != 1:
        raise InputError(
            f"{options['teacher']}: has {len(network.inputs)} inputs; give a model with one"
        )
    _run_teacher(terminal, options, trains_itself=True)
    heads = load_teacher(options["run"] / _TEACHER).heads
    if len(network.outputs) != len(heads):
        raise InputError(
            f"{options['teacher']}: has {len(network.outputs)} outputs; give a model with one"
        )
    _train(terminal, network, heads, {**options, "learning_rate": 0.0}, None)


def _train(
    terminal: Terminal,
    network: Any,
    heads: tuple[str, ...],
    options: dict[str, Any],
    student: StudentConfig | None,
) -> None:
    from bokeh_convert.train.distill import Progress
    from bokeh_convert.train.distill import distill as train
    from bokeh_convert.train.distill_report import write_report
    from bokeh_convert.train.distill_state import DistillConfig
    from bokeh_convert.train.export import save_portable

    given = {
        "crop_steps": 0,
        "whole_steps": 0,
        "feature_weight": 0.0,
        "frozen_below": 0.0,
        **options,
    }
    config = DistillConfig(**{f.name: given[f.name] for f in fields(DistillConfig)})
    run: Path = options["run"]
    with terminal.progress() as progress:

        def on_step(at: Progress) -> None:
            psnr = "" if at.psnr_db is None else f"  {at.psnr_db:.1f} dB"
            progress(f"loss {at.loss:.5f}{psnr}", at.step, at.steps)

        trained = train(
            network,
            heads,
            config,
            run / _TEACHER,
            run,
            save_seconds=options["save_seconds"],
            on_step=on_step,
        )
    save_portable(trained, run / _MODEL)
    report = write_report(trained, heads[-1], run / _TEACHER, run, config, student)
    for name in ("fidelity", "int8_fidelity"):
        if report[name] is not None:
            own = "in int8" if name.startswith("int8") else "in float"
            terminal.note(
                f"{own}: {report[name]['psnr_db_mean']} dB from the teacher on held-out photos, "
                f"{report[name]['psnr_db_worst']} dB for the worst"
            )
    terminal.note(str(run / _MODEL))


def _refuse_overwriting(options: dict[str, Any]) -> None:
    """Checks that the run does not write over the teacher, nor between the photos."""
    from bokeh_convert.train.checkpoint import CHECKPOINT, LOG
    from bokeh_convert.train.distill_report import REPORT, SHEET

    run: Path = options["run"]
    read = [options[name] for name in ("teacher", "photos", "held_out") if options[name]]
    written = [run / name for name in (_MODEL, REPORT, SHEET, CHECKPOINT, LOG)]
    refuse_overwriting([run, *written], read)


def _source_options(options: dict[str, Any]) -> SourceOptions:
    from bokeh_convert.sources.options import SourceOptions  # imports TensorFlow

    return SourceOptions(
        level=options["level"],
        width=options["teacher_width"],
        trust_source=options["trust_source"],
        custom_objects=options["custom_objects"],
    )


def _run_teacher(
    terminal: Terminal, options: dict[str, Any], *, trains_itself: bool = False
) -> None:
    """Runs the teacher, in a process of its own if this one does not use TensorFlow."""
    if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow" and not _is_child():
        environment = {**os.environ, "KERAS_BACKEND": "tensorflow", _CHILD: "1"}
        command = [sys.executable, "-m", "bokeh_convert.train", *sys.argv[1:]]
        code = subprocess.run(
            command, env=environment, stderr=terminal.stderr, check=False
        ).returncode
        if code:
            sys.exit(code)
        return
    from bokeh_convert.train.teacher import TeacherConfig, run_teacher

    config = TeacherConfig(
        path=options["teacher"],
        photos=options["photos"],
        held_out=options["held_out"],
        size=options["size"],
        crop=options["crop"],
        crops=options["crops"],
        whole=options["whole"],
        seed=options["seed"],
        source=_source_options(options),
        input_range=options["input_range"],
        output_range=options["output_range"],
        trains_itself=trains_itself,
    )
    with terminal.progress() as progress:

        def on_view(done: int, total: int) -> None:
            progress("running the teacher", done, total)

        run_teacher(config, options["run"] / _TEACHER, on_view, terminal.note)
    if _is_child():
        sys.exit(0)


_CHILD = "BOKEH_TRAIN_TEACHER_ONLY"


def _is_child() -> bool:
    return os.environ.get(_CHILD) == "1"
