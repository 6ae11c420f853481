"""Trains a student to draw what its teacher draws, without ground truth; resumable."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from bokeh_convert.process_state import random_state
from bokeh_convert.train.checkpoint import (
    CHECKPOINT,
    read_checkpoint,
    refuse_other_config,
    write_checkpoint,
)
from bokeh_convert.train.int8_aware import int8_aware, plain
from bokeh_convert.train.losses import mean_error, ms_ssim_loss, smooth_gradient_error
from bokeh_convert.train.teacher import CROPS, HELD_OUT, WHOLE, TeacherOutputs, load_outputs
from bokeh_runtime.atomic_output import folder_lock
from bokeh_runtime.errors import Argument, InputError
from bokeh_runtime.imaging.photo import FloatImage
from bokeh_runtime.metrics.grain import smooth_areas
from bokeh_runtime.metrics.psnr import psnr

_RANGE_PHOTOS = 8
_XLA_FROM_STEPS = 500
_PEAK_PSNR_DB = 99.0
"""For identical images, so that means stay finite."""


@dataclass(frozen=True)
class DistillConfig:
    """How a student is trained, stored in the checkpoint. A resumed run must match it.

    Attributes:
        crop_steps: Optimizer steps on crops.
        whole_steps: Then, steps on views of the size of the network. Instance norm sees other
            statistics in a crop, so that a student which saw only crops is worse on photos.
        int8_steps: Then, steps with the rounding of static int8; 0 for a float student.
        batch: Batch size of crops; views have a quarter of it.
        learning_rate: Peak of each schedule (linear warm-up, then cosine decay to 1 %); a third of
            it on whole views.
        int8_learning_rate: The same for the steps with rounding.
        smooth_weight: Weight of the error of the gradients in smooth areas.
        ms_ssim_weight: Weight of 1 - MS-SSIM.
        evaluations: How often the student is compared with the teacher on held-out photos, in each
            part.
        patience: A part ends early after so many comparisons without a better PSNR.
        seed: Random seed of the batches.
    """

    crop_steps: int
    whole_steps: int
    int8_steps: int
    batch: int
    learning_rate: float
    int8_learning_rate: float
    smooth_weight: float
    ms_ssim_weight: float
    evaluations: int
    patience: int
    seed: int


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


@dataclass(frozen=True)
class _Part:
    """A part of the training.

    Attributes:
        name: Its name in the log.
        views: The set of views to train on.
        steps: Number of steps.
        learning_rate: Peak of its schedule.
        rounds: Whether the network rounds as static int8 does.
    """

    name: str
    views: str
    steps: int
    learning_rate: float
    rounds: bool


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
        The student with the single output `heads[-1]`, and of each part the weights that were best
        on the held-out photos. After steps with rounding it has `FakeQuantize` layers.

    Raises:
        InputError: If the checkpoint is damaged or of another configuration, if another process
            trains in the folder, or if the loss is not finite.
    """
    with folder_lock(run, "train.lock"):
        state = _Run(student, heads, config, teacher, run)
        parts = [part for part in _parts(config) if state.has(part)]
        for number, part in enumerate(parts):
            model = state.open(part)
            if number >= state.part:
                _train_part(state, model, number, parts, save_seconds, on_step)
            state.close(model)
        found = keras.Model(state.network.input, state.network.outputs[-1], name="pynet")
        return plain(found) if state.rounds else found


def held_out_psnr(
    infer: Callable[[FloatImage], FloatImage], teacher: Path, head: str
) -> list[float]:
    """Returns the PSNR to the teacher on each held-out photo, in dB, without a crop.

    Args:
        infer: Network input, float [height, width, channels] in [0, 1], to network output.
        teacher: Folder with the outputs of the teacher.
        head: The output to compare.
    """
    outputs = load_outputs(teacher, HELD_OUT, [head])
    assert outputs is not None, "photos are always held out"
    scores = []
    for pixels, expected in zip(outputs.inputs, outputs.outputs[head], strict=True):
        output = np.clip(infer(_unit(pixels)), 0, 1)
        scores.append(min(_PEAK_PSNR_DB, psnr(output, expected.astype(np.float32), border_px=0)))
    return scores


class _Run:
    """The state of a run: the network, the part of the training, and the steps done in it."""

    def __init__(
        self,
        student: keras.Model,
        heads: tuple[str, ...],
        config: DistillConfig,
        teacher: Path,
        run: Path,
    ) -> None:
        self.network, self.heads, self.config = student, heads, config
        self.teacher, self.run = teacher, run
        self.rounds = False
        self.part = self.step = 0
        self.best: tuple[float, list[Any]] | None = None
        self.since_best = 0
        self.psnr_db: float | None = None
        self._views = {
            name: found
            for name in (CROPS, WHOLE, HELD_OUT)
            if (found := load_outputs(teacher, name, heads)) is not None
        }
        self._saved: Mapping[str, Any] = {}
        path = run / CHECKPOINT
        if path.is_file():
            stored, self._saved = read_checkpoint(path)
            refuse_other_config(path, stored, asdict(config))
            self.part, self.step = int(self._saved["part"]), int(self._saved["step"])

    def has(self, part: _Part) -> bool:
        return part.steps > 0 and part.views in self._views

    def side(self, part: _Part) -> int:
        """Returns the shorter side of the finest output, in pixels."""
        return int(min(self._views[part.views].outputs[self.heads[-1]].shape[1:3]))

    def open(self, part: _Part) -> keras.Model:
        """Makes the network ready for a part."""
        if part.rounds and not self.rounds:
            views = self._views[WHOLE].inputs[:_RANGE_PHOTOS]
            self.network = int8_aware(self.network, [_unit(view) for view in views])
            self.rounds = True
        return self.network

    def resume(self, number: int, optimizer: Any) -> None:
        """Restores weights and optimizer, if the checkpoint is of this part."""
        self.best, self.since_best = None, 0
        if not self._saved or number != self.part:
            self.part, self.step = number, 0
            return
        saved, count = self._saved, len(self.network.weights)
        self.network.set_weights([saved[f"w{i}"] for i in range(count)])
        if "best" in saved:
            self.best = float(saved["best"]), [saved[f"b{i}"] for i in range(count)]
            self.psnr_db = self.best[0]
        self.since_best = int(saved["since_best"])
        for i, variable in enumerate(optimizer.variables):
            variable.assign(saved[f"o{i}"])
        self._saved = {}

    def save(self, optimizer: Any, loss: float) -> None:
        arrays = {f"w{i}": value for i, value in enumerate(self.network.get_weights())}
        for i, variable in enumerate(optimizer.variables):
            arrays[f"o{i}"] = ops.convert_to_numpy(variable.value)
        if self.best is not None:
            arrays |= {f"b{i}": value for i, value in enumerate(self.best[1])}
            arrays["best"] = np.array(self.best[0])
        arrays["part"], arrays["since_best"] = np.array(self.part), np.array(self.since_best)
        log = {"part": self.part, "loss": round(loss, 6), "psnr_db": self.psnr_db}
        write_checkpoint(self.run, asdict(self.config), self.step, arrays, log)

    def close(self, model: keras.Model) -> None:
        """Takes the best weights of the latest part."""
        if self.best is not None:
            model.set_weights(self.best[1])

    def evaluate(self, optimizer: Any) -> None:
        """Compares averaged weights with the teacher, and keeps them if they are the best."""
        current = self.network.get_weights()
        optimizer.finalize_variable_values(self.network.trainable_variables)

        def infer(image: FloatImage) -> FloatImage:
            outputs = self.network(image[np.newaxis], training=False)
            finest = outputs[-1] if len(self.heads) > 1 else outputs
            return np.asarray(ops.convert_to_numpy(finest)[0], np.float32)

        scores = held_out_psnr(infer, self.teacher, self.heads[-1])
        self.psnr_db = round(float(np.mean(scores)), 3)
        if self.best is None or self.psnr_db > self.best[0]:
            self.best, self.since_best = (self.psnr_db, self.network.get_weights()), 0
        else:
            self.since_best += 1
        self.network.set_weights(current)

    def batches(self, part: _Part, steps: range) -> Iterator[tuple[FloatImage, list[FloatImage]]]:
        """Yields network inputs, and the teacher's outputs by head, the last with smooth areas."""
        views = self._views[part.views]
        size = self.config.batch if part.views == CROPS else max(1, self.config.batch // 4)
        for step in steps:
            rng = np.random.default_rng((self.config.seed, self.part, step))
            chosen = np.sort(rng.choice(len(views.inputs), min(size, len(views.inputs)), False))
            yield _unit(views.inputs[chosen]), _targets(views, self.heads, chosen)


def _parts(config: DistillConfig) -> list[_Part]:
    rate = config.learning_rate
    return [
        _Part("crops", CROPS, config.crop_steps, rate, False),
        _Part("whole views", WHOLE, config.whole_steps, rate / 3, False),
        _Part("int8", WHOLE, config.int8_steps, config.int8_learning_rate, True),
    ]


def _targets(
    views: TeacherOutputs, heads: tuple[str, ...], chosen: np.typing.NDArray[np.intp]
) -> list[FloatImage]:
    targets = [views.outputs[head][chosen].astype(np.float32) for head in heads]
    smooth = np.stack([smooth_areas(image)[..., np.newaxis] for image in targets[-1]])
    targets[-1] = np.concatenate([targets[-1], smooth.astype(np.float32)], axis=-1)
    return targets


def _compile(model: keras.Model, part: _Part, config: DistillConfig, heads: int, side: int) -> Any:
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

    def finest(target: Any, output: Any) -> Any:
        image, smooth = target[..., :3], target[..., 3:]
        loss = mean_error(image, output)
        loss += config.smooth_weight * smooth_gradient_error(image, output, smooth)
        return loss + config.ms_ssim_weight * ms_ssim_loss(image, output, side)

    losses = [*[mean_error] * (heads - 1), finest]
    weights = [*[0.2] * (heads - 1), 1.0]
    model.compile(
        optimizer=optimizer,
        loss=losses,
        loss_weights=weights,
        # XLA takes a minute to compile a PyNET, and saves an eighth of the time of a step.
        jit_compile="auto" if part.steps > _XLA_FROM_STEPS else False,
    )
    return optimizer


def _train_part(
    state: _Run,
    model: keras.Model,
    number: int,
    parts: list[_Part],
    save_seconds: float,
    on_step: Callable[[Progress], None],
) -> None:
    part, config = parts[number], state.config
    with random_state(config.seed):
        optimizer = _compile(model, part, config, len(state.heads), state.side(part))
    state.resume(number, optimizer)
    before, total = sum(p.steps for p in parts[:number]), sum(p.steps for p in parts)
    every = max(1, part.steps // config.evaluations)
    smooth, saved_at = None, time.monotonic()
    for photos, targets in state.batches(part, range(state.step, part.steps)):
        goals = targets if len(targets) > 1 else targets[0]
        loss = float(np.ravel(model.train_on_batch(photos, goals))[0])
        if not math.isfinite(loss):
            raise InputError(
                f"{state.run}: the loss is {loss} after step {before + state.step}",
                remedy=("start again in another folder with a lower ", Argument("learning_rate")),
            )
        smooth = loss if smooth is None else 0.98 * smooth + 0.02 * loss
        state.step += 1
        last = state.step == part.steps
        if last or state.step % every == 0:
            state.evaluate(optimizer)
        stops = state.since_best >= config.patience
        on_step(Progress(before + state.step, total, smooth, state.psnr_db))
        if last or stops or time.monotonic() - saved_at > save_seconds:
            if stops:
                state.step = part.steps
            state.save(optimizer, smooth)
            saved_at = time.monotonic()
        if stops:
            return


def _unit(pixels: Any) -> FloatImage:
    return np.asarray(pixels, np.float32) / np.float32(255)
