"""The commands `bokeh-train distill` and `bokeh-train finetune`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bokeh_convert.cli import Size
from bokeh_convert.options import LEVELS
from bokeh_convert.train.console import Terminal, run_command
from bokeh_runtime.errors import InputError

if TYPE_CHECKING:
    from bokeh_convert.sources.options import SourceOptions
    from bokeh_convert.train.student_choice import StudentConfig

_PATH = click.Path(path_type=Path)
_Command = TypeVar("_Command", bound=Callable[..., None])
_TEACHER = "teacher"
"""Folder in a run with the outputs of the teacher."""


def _options(*options: Callable[[Any], Any]) -> Callable[[_Command], _Command]:
    def add(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


INT8_AWARE = click.option(
    "--int8-aware",
    is_flag=True,
    help="Then, steps with the rounding of static int8, to which the weights adapt.",
)
INT8_STEPS = click.option(
    "--int8-steps", default=400, show_default=True, help="Number of int8-aware steps."
)
INT8_LEARNING_RATE = click.option(
    "--int8-learning-rate",
    default=2e-4,
    show_default=True,
    help="Peak learning rate of the int8-aware steps.",
)
_TEACHER_OPTIONS = _options(
    click.argument("teacher", type=_PATH),
    click.option("--photos", type=_PATH, required=True, help="Folder of photos to learn from."),
    click.option(
        "--held-out",
        type=_PATH,
        help="Folder of photos to compare on. By default an eighth of the photos, at most 12.",
    ),
    click.option(
        "-o",
        "--output-dir",
        "run",
        type=_PATH,
        required=True,
        help="Output folder. To resume a run, repeat the command with the same folder.",
    ),
    click.option(
        "--size",
        type=Size(),
        help="Size of the network input. Default: that of the model, or 256x384.",
    ),
    click.option(
        "--crop", default=192, show_default=True, help="Side of the square crops in pixels."
    ),
    click.option(
        "--crops", default=2000, show_default=True, help="Number of crops the teacher is run on."
    ),
    click.option(
        "--views",
        "whole",
        default=400,
        show_default=True,
        help="Number of views of the size of the network that the teacher is run on.",
    ),
    click.option("--seed", default=0, show_default=True, help="Random seed."),
    click.option("--level", type=click.Choice(LEVELS), help="As for bokeh-convert."),
    click.option("--teacher-width", type=float, help="As --width for bokeh-convert."),
    click.option("--trust-source", is_flag=True, help="As for bokeh-convert."),
    click.option("--custom-objects", multiple=True, metavar="MODULE:NAME", help="Likewise."),
    click.option("--input-range", metavar="LOW..HIGH", help="As for bokeh-convert."),
    click.option("--output-range", metavar="LOW..HIGH", help="As for bokeh-convert."),
)
_TRAINING_OPTIONS = _options(
    click.option("--batch", default=4, show_default=True, help="Batch size of crops."),
    INT8_LEARNING_RATE,
    click.option(
        "--smooth-weight",
        default=3.0,
        show_default=True,
        help="Weight of the error of gradients in smooth areas, where grain is seen.",
    ),
    click.option(
        "--ms-ssim-weight", default=0.02, show_default=True, help="Weight of 1 - MS-SSIM."
    ),
    click.option(
        "--evaluations",
        default=10,
        show_default=True,
        help="How often to compare with the teacher, in each part of the training.",
    ),
    click.option(
        "--patience",
        default=4,
        show_default=True,
        help="A part ends after so many comparisons without a smaller loss.",
    ),
    click.option(
        "--save-seconds", default=120.0, show_default=True, help="Seconds between two checkpoints."
    ),
)


@click.command()
@_TEACHER_OPTIONS
@click.option(
    "--width", type=float, help="Channel multiplier of the student. Default: the teacher's."
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
    "--speedup", type=float, help="Choose width, kernels and blocks for 1/N of the teacher's cost."
)
@click.option(
    "--steps", "crop_steps", default=3000, show_default=True, help="Optimizer steps on crops."
)
@click.option("--whole-steps", default=600, show_default=True, help="Then, steps on whole views.")
@INT8_AWARE
@INT8_STEPS
@click.option("--learning-rate", default=1e-3, show_default=True, help="Peak learning rate.")
@_TRAINING_OPTIONS
def distill(**options: Any) -> None:
    """Train a smaller network that draws what TEACHER draws, from photos without ground truth.

    TEACHER is any model that bokeh-convert reads. It is run once, and its outputs are stored in the
    output folder. The student is a PyNET; that of a PyNET starts from its weights.
    """
    run_command(distill, lambda terminal: _distill(terminal, options), resume_in=options["run"])


@click.command()
@_TEACHER_OPTIONS
@click.option("--steps", "int8_steps", default=400, show_default=True, help="Optimizer steps.")
@click.option(
    "--feature-weight",
    default=0.1,
    show_default=True,
    help="Weight of the error of activations inside of the network, which keeps it from changing "
    "on other photos than it is trained on.",
)
@click.option(
    "--frozen-below",
    default=0.5,
    show_default=True,
    help="Layers whose output has less than this share of the height of the network's keep their "
    "weights: they decide what is sharp, and grain comes from the finer ones.",
)
@_TRAINING_OPTIONS
def finetune(**options: Any) -> None:
    """Train a Keras 3 model on with the rounding of static int8, to which its weights adapt.

    It learns to draw in int8 what TEACHER, the model itself, draws in float.
    """
    run_command(finetune, lambda terminal: _finetune(terminal, options), resume_in=options["run"])


def _distill(terminal: Terminal, options: dict[str, Any]) -> None:
    run = options["run"]
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
    if not options["int8_aware"]:
        options = {**options, "int8_steps": 0}
    _train(terminal, network, student.heads, options, student)


def _finetune(terminal: Terminal, options: dict[str, Any]) -> None:
    from bokeh_convert.pynet.int8_aware import FakeQuantize
    from bokeh_convert.sources.keras3 import open_keras3
    from bokeh_convert.train.teacher_outputs import load_teacher

    network: Any = open_keras3(options["teacher"], _source_options(options))
    if any(isinstance(layer, FakeQuantize) for layer in network.layers):
        raise InputError(
            f"{options['teacher']}: was trained with rounding already; give the model it came from"
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
    save_portable(trained, run / "model.h5")
    report = write_report(trained, heads[-1], run / _TEACHER, run, config, student)
    for name in ("fidelity", "int8_fidelity"):
        if report[name] is not None:
            own = "in int8" if name.startswith("int8") else "in float"
            terminal.note(
                f"{own}: {report[name]['psnr_db_mean']} dB from the teacher on held-out photos, "
                f"{report[name]['psnr_db_worst']} dB for the worst"
            )
    terminal.note(str(run / "model.h5"))


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
