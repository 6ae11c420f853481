"""Trains a student to draw what its teacher draws, without ground truth; resumable."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from bokeh_convert.process_state import random_state
from bokeh_convert.train.devices import all_devices
from bokeh_convert.train.distill_state import DistillConfig, DistillState, Part
from bokeh_convert.train.int8_aware import plain
from bokeh_convert.train.losses import mean_error, ms_ssim_loss, smooth_gradient_error
from bokeh_convert.train.teacher_outputs import CROPS, HELD_OUT, WHOLE
from bokeh_runtime.atomic_output import folder_lock
from bokeh_runtime.errors import Argument, InputError

_XLA_FROM_STEPS = 500


@dataclass(frozen=True)
class Progress:
    """Where a training is.

    Attributes:
        step, steps: Steps done, and all steps, in all parts.
        loss: Smoothed.
        psnr_db: Latest mean PSNR to the teacher on held-out photos; None before the first.
    """

    step: int
    steps: int
    loss: float
    psnr_db: float | None


def distill(
    student: keras.Model,
    heads: tuple[str, ...],
    config: DistillConfig,
    teacher: Path,
    run: Path,
    *,
    save_seconds: float = 120.0,
    on_step: Callable[[Progress], None] = lambda progress: None,
) -> keras.Model:
    """Trains a student, starting from the checkpoint in the folder, if any.

    Args:
        student: The network with its initial weights and the outputs `heads`.
        heads: Names of its outputs, coarsest first; the last is the one that is used.
        config: How to train.
        teacher: Folder with the outputs of the teacher; see `bokeh_convert.train.teacher`.
        run: Folder of the run, for the checkpoint and the log.
        save_seconds: Seconds between two checkpoints.
        on_step: Called after each step.

    Returns:
        The student with the single output `heads[-1]`, and the weights with the smallest loss on
        the held-out photos: of all parts without rounding, and then of those with it. After steps
        with rounding it has `FakeQuantize` layers.

    Raises:
        InputError: If the checkpoint is damaged or of another configuration, if another process
            trains in the folder, if the batch cannot be split between the devices, or if the loss
            is not finite.
    """
    with folder_lock(run, "train.lock"), all_devices(config.batch) as devices:
        if devices > 1:  # so that its weights are on all of them
            weights, student = student.get_weights(), keras.models.clone_model(student)
            student.set_weights(weights)
        state = DistillState(student, heads, config, teacher, run)
        parts = [part for part in _parts(config, crops=state.has_views(CROPS)) if part.steps]
        for number, part in enumerate(parts):
            model = state.open(part)
            if number >= state.part:
                _train_part(state, model, number, parts, save_seconds, on_step)
            state.close()
        if state.rounds and not config.crop_steps + config.whole_steps:
            state.blend(_finest_loss(config, state.side(HELD_OUT)))
        found = keras.Model(state.network.input, state.network.outputs[-1], name="pynet")
        return plain(found) if state.rounds else found


def _parts(config: DistillConfig, *, crops: bool) -> list[Part]:
    rate, int8_rate = config.learning_rate, config.int8_learning_rate
    int8_crop_steps = config.int8_steps * 3 // 4 if crops else 0
    int8_whole_steps = config.int8_steps - int8_crop_steps
    return [
        Part("crops", CROPS, config.crop_steps if crops else 0, rate, False),
        Part("whole views", WHOLE, config.whole_steps, rate / 3, False),
        Part("int8 crops", CROPS, int8_crop_steps, int8_rate, True),
        Part("int8 whole views", WHOLE, int8_whole_steps, int8_rate / 3, True),
    ]


def _compile(model: keras.Model, part: Part, config: DistillConfig, heads: int, side: int) -> Any:
    schedule = keras.optimizers.schedules.CosineDecay(
        part.learning_rate / 10,
        max(1, part.steps - part.steps // 20),
        alpha=0.1,
        warmup_target=part.learning_rate,
        warmup_steps=part.steps // 20,
    )
    momentum = 1 - 1 / max(20, part.steps // 20)
    optimizer = keras.optimizers.Adam(
        schedule, clipnorm=1.0, use_ema=True, ema_momentum=min(0.998, momentum)
    )
    optimizer.build(model.trainable_variables)
    losses = [*[mean_error] * (heads - 1), _finest_loss(config, side)]
    weights = [*[0.2] * (heads - 1), 1.0]
    if len(model.outputs) > heads:
        losses.append(_mean_of_output)
        weights.append(config.feature_weight)
    model.compile(
        optimizer=optimizer,
        loss=losses,
        loss_weights=weights,
        # XLA takes a minute to compile a PyNET, and saves an eighth of the time of a step.
        jit_compile="auto" if part.steps > _XLA_FROM_STEPS else False,
    )
    return optimizer


def _mean_of_output(_: Any, output: Any) -> Any:
    return keras.ops.mean(output)


def _finest_loss(config: DistillConfig, side: int) -> Callable[[Any, Any], Any]:
    """Returns the loss of the finest output, whose targets have the smooth areas as last channel.

    Args:
        config: The weights of its terms.
        side: The shorter side of the output, in pixels.
    """

    def loss(target: Any, output: Any) -> Any:
        image, smooth = target[..., :3], target[..., 3:]
        found = mean_error(image, output)
        found += config.smooth_weight * smooth_gradient_error(image, output, smooth)
        return found + config.ms_ssim_weight * ms_ssim_loss(image, output, side)

    return loss


def _train_part(
    state: DistillState,
    model: keras.Model,
    number: int,
    parts: list[Part],
    save_seconds: float,
    on_step: Callable[[Progress], None],
) -> None:
    part, config = parts[number], state.config
    with random_state(config.seed):
        optimizer = _compile(model, part, config, len(state.heads), state.side(part.views))
    state.resume(number, optimizer)
    before, total = sum(p.steps for p in parts[:number]), sum(p.steps for p in parts)
    held_out_loss = _finest_loss(config, state.side(HELD_OUT))
    every = max(1, part.steps // config.evaluations)
    smooth, saved_at = None, time.monotonic()
    for photos, targets in state.batches(part, range(state.step, part.steps)):
        goals = targets if len(targets) > 1 else targets[0]
        loss = float(np.ravel(model.train_on_batch(photos, goals))[0])
        if not math.isfinite(loss):
            rate = "int8_learning_rate" if part.rounds else "learning_rate"
            raise InputError(
                f"{state.run}: the loss is {loss} after step {before + state.step}",
                remedy=("start again in another folder with a lower ", Argument(rate)),
            )
        smooth = loss if smooth is None else 0.98 * smooth + 0.02 * loss
        state.step += 1
        state.steps_done[part.name] = state.step
        last = state.step == part.steps
        if last or state.step % every == 0:
            state.evaluate(optimizer, held_out_loss)
        stops = state.since_best >= config.patience
        on_step(Progress(before + state.step, total, smooth, state.psnr_db))
        if last or stops or time.monotonic() - saved_at > save_seconds:
            if stops:
                state.step = part.steps
            state.save(optimizer, smooth)
            saved_at = time.monotonic()
        if stops:
            return
