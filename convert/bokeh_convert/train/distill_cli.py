"""The commands `bokeh-train distill` and `bokeh-train finetune`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bokeh_convert.cli import Size
from bokeh_convert.options import LEVELS
from bokeh_runtime.errors import InputError, option_names
from bokeh_runtime.interrupt import INTERRUPTED, interruptible

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
    click.option(
        "--int8-learning-rate",
        default=1e-4,
        show_default=True,
        help="Peak learning rate of the int8-aware steps.",
    ),
    click.option(
        "--smooth-weight",
        default=1.0,
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
        help="A part ends after so many comparisons without a better PSNR.",
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
@click.option(
    "--int8-aware",
    is_flag=True,
    help="Then, steps with the rounding of static int8, so that int8 costs no quality.",
)
@click.option("--int8-steps", default=400, show_default=True, help="Their number.")
@click.option("--learning-rate", default=1e-3, show_default=True, help="Peak learning rate.")
@_TRAINING_OPTIONS
@click.pass_context
def distill(context: click.Context, /, **options: Any) -> None:
    """Train a smaller network that draws what TEACHER draws, from photos without ground truth.

    TEACHER is any model that bokeh-convert reads. It is run once, and its outputs are stored in the
    output folder. The student is a PyNET; that of a PyNET starts from its weights.
    """
    _guarded(context, distill, _distill, options)


@click.command()
@_TEACHER_OPTIONS
@click.option("--steps", "int8_steps", default=400, show_default=True, help="Optimizer steps.")
@_TRAINING_OPTIONS
@click.pass_context
def finetune(context: click.Context, /, **options: Any) -> None:
    """Train a Keras 3 model on with the rounding of static int8, so that int8 costs no quality.

    It learns to draw in int8 what TEACHER, the model itself, draws in float.
    """
    _guarded(context, finetune, _finetune, options)


def _guarded(
    context: click.Context,
    command: click.Command,
    run: Callable[[dict[str, Any], Callable[[], None]], Path],
    options: dict[str, Any],
) -> None:
    try:
        with interruptible() as check:
            click.echo(str(run(options, check)), err=True)
    except InputError as error:
        message, code = error.in_options(option_names(command)), 2
    except ValueError as error:
        message, code = str(error), 2
    except KeyboardInterrupt:
        message, code = (
            f"interrupted; repeat the command to resume in {options['run']}",
            INTERRUPTED,
        )
    else:
        return
    click.echo(f"bokeh-train: {message}", err=True)
    context.exit(code)


def _distill(options: dict[str, Any], check: Callable[[], None]) -> Path:
    run = options["run"]
    _run_teacher(options, check)
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
    click.echo(
        f"student: width {student.width:g}, {form.kernels} kernels, "
        f"{form.residual_blocks} residual blocks; {note}",
        err=True,
    )
    if not options["int8_aware"]:
        options = {**options, "int8_steps": 0}
    return _train(network, student.heads, options, check)


def _finetune(options: dict[str, Any], check: Callable[[], None]) -> Path:
    _run_teacher({**options, "crops": 0}, check)
    from bokeh_convert.sources.keras3 import open_keras3
    from bokeh_convert.train.teacher_outputs import load_teacher

    network: Any = open_keras3(options["teacher"])
    teacher = load_teacher(options["run"] / _TEACHER)
    heads = teacher.heads
    if not teacher.unit_range:
        raise InputError(
            f"{options['teacher']}: was trained on another value range than 0..1, which finetune "
            "does not support; distill it instead"
        )
    if len(network.outputs) != len(heads):
        raise InputError(
            f"{options['teacher']}: has {len(network.outputs)} outputs; give a model with one"
        )
    return _train(network, heads, {**options, "learning_rate": 0.0}, check)


def _train(
    network: Any, heads: tuple[str, ...], options: dict[str, Any], check: Callable[[], None]
) -> Path:
    from bokeh_convert.train.distill import Progress as TrainProgress
    from bokeh_convert.train.distill import distill
    from bokeh_convert.train.distill_report import write_report
    from bokeh_convert.train.distill_state import DistillConfig
    from bokeh_convert.train.export import save_portable

    given = {"crop_steps": 0, "whole_steps": 0, **options}
    config = DistillConfig(**{f.name: given[f.name] for f in fields(DistillConfig)})
    run: Path = options["run"]
    console = Console(stderr=True)
    with Progress(
        TextColumn("loss {task.fields[loss]}  {task.fields[psnr]}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task("", total=None, loss="-", psnr="")

        def on_step(at: TrainProgress) -> None:
            check()
            psnr = "" if at.psnr_db is None else f"{at.psnr_db:.1f} dB"
            bar.update(task, total=at.steps, completed=at.step, loss=f"{at.loss:.5f}", psnr=psnr)

        trained = distill(
            network,
            heads,
            config,
            run / _TEACHER,
            run,
            save_seconds=options["save_seconds"],
            on_step=on_step,
        )
    check()
    save_portable(trained, run / "model.h5")
    report = write_report(trained, heads[-1], run / _TEACHER, run)
    for name in ("fidelity", "int8_fidelity"):
        if report[name] is not None:
            own = "in int8" if name.startswith("int8") else "in float"
            click.echo(
                f"{own}: {report[name]['psnr_db_mean']} dB from the teacher on held-out photos, "
                f"{report[name]['psnr_db_worst']} dB for the worst",
                err=True,
            )
    return run / "model.h5"


def _run_teacher(options: dict[str, Any], check: Callable[[], None]) -> None:
    """Runs the teacher, in a process of its own if this one does not use TensorFlow."""
    if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow" and not _is_child():
        environment = {**os.environ, "KERAS_BACKEND": "tensorflow", _CHILD: "1"}
        command = [sys.executable, "-m", "bokeh_convert.train", *sys.argv[1:]]
        code = subprocess.run(command, env=environment, check=False).returncode
        if code:
            sys.exit(code)
        return
    from bokeh_convert.sources.options import SourceOptions
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
        source=SourceOptions(
            level=options["level"],
            width=options["teacher_width"],
            trust_source=options["trust_source"],
            custom_objects=options["custom_objects"],
        ),
        input_range=options["input_range"],
        output_range=options["output_range"],
    )
    console = Console(stderr=True)
    with Progress(
        TextColumn("running the teacher"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task("", total=None)

        def on_view(done: int, total: int) -> None:
            check()
            bar.update(task, total=total, completed=done)

        run_teacher(config, options["run"] / _TEACHER, on_view)
    if _is_child():
        sys.exit(0)


_CHILD = "BOKEH_TRAIN_TEACHER_ONLY"


def _is_child() -> bool:
    return os.environ.get(_CHILD) == "1"
