"""Chooses how wide a student is and how its kernels are written, from what it may cost."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras

from bokeh_convert.graph.cost_model import Precision, kernel_cost
from bokeh_convert.pynet.network import Form, pynet
from bokeh_convert.train.teacher_outputs import Teacher
from bokeh_runtime.errors import Argument, InputError

DEFAULT_WIDTH = 0.25
"""Of the student of a teacher that is no PyNET."""
_FACTORIZED = tuple(Form("factorized", residual_blocks=blocks) for blocks in (3, 2, 1))
_NARROWER = (1.0, 0.75, 0.5, 0.35, 0.25)


@dataclass(frozen=True)
class StudentConfig:
    """The network of a student.

    Attributes:
        width: Channel multiplier of the PyNET.
        form: How it is built from convolutions.
        heads: Its outputs, coarsest first.
        input_channels: 3 (RGB) or 4 (RGB + depth).
        residual: Whether the network's output is added to the photo.
    """

    width: float
    form: Form
    heads: tuple[str, ...]
    input_channels: int
    residual: bool

    def build(self, size: tuple[int, int] | None = None) -> keras.Model:
        """Returns the network with random weights.

        Args:
            size: (height, width) of the input, in pixels; None for any size.
        """
        return pynet(
            width=self.width,
            input_channels=self.input_channels,
            size=size,
            heads=self.heads,
            residual=self.residual,
            form=self.form,
        )


@dataclass(frozen=True)
class Cost:
    """What a network costs for one photo.

    Attributes:
        multiplications: Of its convolutions.
        instructions: Of its convolutions in static int8 on a phone's CPU, estimated.
    """

    multiplications: int
    instructions: float


def cost_of(student: StudentConfig, size: tuple[int, int]) -> Cost:
    """Returns the cost of the finest output of a student."""
    finest = StudentConfig(
        student.width, student.form, student.heads[-1:], student.input_channels, student.residual
    )
    count, instructions = 0, 0.0
    for pixels, taps, depth, filters in _convolutions(finest.build(size)):
        count += pixels * taps * depth * filters
        instructions += kernel_cost(Precision.STATIC, pixels, taps, depth, filters)
    return Cost(count, instructions)


def student_for(teacher: Teacher, speedup: float) -> StudentConfig:
    """Returns the largest student that costs at most 1 / `speedup` of its teacher.

    Both the multiplications and the estimated instructions count. Factorized kernels come first,
    since they cost the least quality; then residual blocks go, then channels.

    Raises:
        InputError: If the smallest student costs more.
    """
    width = teacher.width or DEFAULT_WIDTH
    cheapest = math.inf
    for narrower in _NARROWER:
        for form in _FACTORIZED:
            student = student_like(teacher, width=width * narrower, form=form)
            cost = cost_of(student, teacher.size)
            ratio = max(
                cost.multiplications / teacher.multiplications,
                cost.instructions / teacher.static_cost,
            )
            cheapest = min(cheapest, ratio)
            if ratio * speedup <= 1:
                return student
    raise InputError(
        Argument("speedup", speedup),
        f": the smallest student costs {cheapest:.2f} of {teacher.name}; "
        f"give at most {1 / cheapest:.1f}",
    )


def student_like(teacher: Teacher, *, width: float | None, form: Form) -> StudentConfig:
    """Returns a student with the input and the outputs of its teacher."""
    own = width or teacher.width or DEFAULT_WIDTH
    residual = teacher.residual or teacher.width is None
    return StudentConfig(own, form, teacher.heads, teacher.channels, residual)


def _convolutions(model: Any) -> Iterator[tuple[int, int, int, int]]:
    """Yields output pixels, taps, input and output channels of each convolution."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2DTranspose):
            # Costs by its input: stride 2 spreads the kernel over four outputs.
            rows, columns, filters, depth = layer.kernel.shape
            yield math.prod(layer.input.shape[1:3]), rows * columns, depth, filters
        elif isinstance(layer, keras.layers.Conv2D):
            rows, columns, depth, filters = layer.kernel.shape
            yield math.prod(layer.output.shape[1:3]), rows * columns, depth, filters
