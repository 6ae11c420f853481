"""Options of the commands `bokeh-train distill` and `bokeh-train finetune`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from bokeh_convert.cli import Size
from bokeh_convert.options import LEVELS
from bokeh_runtime.errors import Argument, InputError
from bokeh_runtime.finite_range import FiniteRange

AT_LEAST_ONE, COUNT = click.IntRange(min=1), click.IntRange(min=0)
RATE = FiniteRange(min=0, min_open=True)
WEIGHT = FiniteRange(min=0)
WIDTH = FiniteRange(min=0, max=4, min_open=True)
_PATH = click.Path(path_type=Path)
_Command = TypeVar("_Command", bound=Callable[..., None])


def _together(*options: Callable[[Any], Any]) -> Callable[[_Command], _Command]:
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
    "--int8-steps", type=COUNT, default=400, show_default=True, help="Number of int8-aware steps."
)
INT8_LEARNING_RATE = click.option(
    "--int8-learning-rate",
    type=RATE,
    default=2e-4,
    show_default=True,
    help="Peak learning rate of the int8-aware steps.",
)
TEACHER_OPTIONS = _together(
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
        "--crop",
        type=AT_LEAST_ONE,
        default=192,
        show_default=True,
        help="Side of the square crops in pixels.",
    ),
    click.option(
        "--crops",
        type=COUNT,
        default=2000,
        show_default=True,
        help="Number of crops the teacher is run on.",
    ),
    click.option(
        "--views",
        "whole",
        type=AT_LEAST_ONE,
        default=400,
        show_default=True,
        help="Number of views of the size of the network that the teacher is run on.",
    ),
    click.option("--seed", type=COUNT, default=0, show_default=True, help="Random seed."),
    click.option("--level", type=click.Choice(LEVELS), help="As for bokeh-convert."),
    click.option("--teacher-width", type=WIDTH, help="As --width for bokeh-convert."),
    click.option("--trust-source", is_flag=True, help="As for bokeh-convert."),
    click.option("--custom-objects", multiple=True, metavar="MODULE:NAME", help="Likewise."),
    click.option("--input-range", metavar="LOW..HIGH", help="As for bokeh-convert."),
    click.option("--output-range", metavar="LOW..HIGH", help="As for bokeh-convert."),
)
TRAINING_OPTIONS = _together(
    click.option(
        "--batch", type=AT_LEAST_ONE, default=4, show_default=True, help="Batch size of crops."
    ),
    INT8_LEARNING_RATE,
    click.option(
        "--smooth-weight",
        type=WEIGHT,
        default=3.0,
        show_default=True,
        help="Weight of the error of gradients in smooth areas, where grain is seen.",
    ),
    click.option(
        "--ms-ssim-weight",
        type=WEIGHT,
        default=0.02,
        show_default=True,
        help="Weight of 1 - MS-SSIM.",
    ),
    click.option(
        "--evaluations",
        type=AT_LEAST_ONE,
        default=10,
        show_default=True,
        help="How often to compare with the teacher, in each part of the training.",
    ),
    click.option(
        "--patience",
        type=AT_LEAST_ONE,
        default=4,
        show_default=True,
        help="A part ends after so many comparisons without a smaller loss.",
    ),
    click.option(
        "--save-seconds",
        type=WEIGHT,
        default=120.0,
        show_default=True,
        help="Seconds between two checkpoints.",
    ),
)


def refuse_given(names: tuple[str, ...], cause: str) -> None:
    """Checks that options that would have no effect were not given on the command line.

    Args:
        names: Of the options, as parameters.
        cause: Why they have no effect, and what to do.

    Raises:
        InputError: If one of them was given.
    """
    context = click.get_current_context()
    for name in names:
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise InputError(Argument(name), f": {cause}")


def refuse_int8_options() -> None:
    """Checks that there are no options of int8-aware steps where there are no such steps.

    Raises:
        InputError: If one of them was given.
    """
    refuse_given(("int8_steps", "int8_learning_rate"), "has no effect; add --int8-aware")
