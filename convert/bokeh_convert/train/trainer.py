"""Resumable training of PyNET, all heads together or level by level."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from bokeh_convert.process_state import random_state
from bokeh_convert.pynet.network import HEADS, pynet
from bokeh_convert.train.batches import AugmentationConfig, batches, resize
from bokeh_convert.train.checkpoint import (
    CHECKPOINT,
    read_checkpoint,
    refuse_other_config,
    write_checkpoint,
)
from bokeh_convert.train.devices import all_devices
from bokeh_convert.train.int8_aware import int8_aware, plain
from bokeh_convert.train.losses import charbonnier
from bokeh_convert.train.pair_files import PairFiles, refuse_unusable
from bokeh_convert.train.pairs import Pair
from bokeh_runtime.atomic_output import folder_lock
from bokeh_runtime.errors import Argument, InputError
from bokeh_runtime.imaging.photo import FloatImage

_RANGE_EXAMPLES = 8
"""Examples on which the ranges are measured from which the steps with rounding start."""


@dataclass(frozen=True)
class TrainConfig:
    """The configuration of a training run, stored in the checkpoint. A resumed run must match it.

    Attributes:
        width, input_channels, residual: See `bokeh_convert.pynet.network.pynet`.
        head: The finest head to train, one of `HEADS`.
        by_level: Add the heads one by one, starting with the coarsest, as the paper does. If
            False, all heads are trained from the start. A step on the coarse levels takes a
            fraction of the time of a full step.
        steps: Total number of optimizer steps; level by level, split evenly between the heads.
        batch: Batch size.
        crop, short_side: See `AugmentationConfig`, in pixels.
        paste: See `AugmentationConfig`, in [0, 1].
        learning_rate: Peak of the schedule (linear warm-up, then cosine decay to 1 %).
        seed: Random seed of the weights, the examples and the augmentation.
        int8_steps: Then, steps with the rounding of static int8; 0 for a network in float.
        int8_learning_rate: Peak of their schedule.
    """

    width: float
    input_channels: int
    residual: bool
    head: str
    by_level: bool
    steps: int
    batch: int
    crop: int
    short_side: int
    paste: float
    learning_rate: float
    seed: int
    int8_steps: int = 0
    int8_learning_rate: float = 2e-4

    @property
    def heads(self) -> tuple[str, ...]:
        """The heads to build, coarsest first, up to and including `head`."""
        return HEADS[: HEADS.index(self.head) + 1]

    @property
    def augmentation(self) -> AugmentationConfig:
        """How the training examples are made."""
        return AugmentationConfig(
            self.crop, self.short_side, head_scale(self.head), self.input_channels == 4, self.paste
        )


@dataclass(frozen=True)
class _Stage:
    """A part of the training with fixed heads, from step `first_step` to before `last_step`."""

    heads: tuple[str, ...]
    first_step: int
    last_step: int
    learning_rate: float
    rounds: bool = False


def head_scale(head: str) -> float:
    """Returns the size of a head's output relative to the network input: 2, 1, 1/2, ... 1/32."""
    return 2.0 if head == "l_up" else 2.0 ** -int(head[1:])


def train(
    config: TrainConfig,
    pairs: Sequence[Pair],
    run: Path,
    *,
    save_seconds: float = 120.0,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> keras.Model:
    """Trains for all steps of the configuration, starting from the folder's checkpoint, if any.

    Args:
        config: The configuration.
        pairs: The training pairs.
        run: Folder of the checkpoint and the loss log; created if missing.
        save_seconds: Seconds between two checkpoints.
        on_step: Called after each step, with the number of steps done and the smoothed loss.

    Returns:
        The model with the single output `config.head` and averaged weights (exponential moving
        average). After steps with rounding it has `FakeQuantize` layers.

    Raises:
        InputError: If a file of the pairs is missing or is no image, if the checkpoint is damaged
            or is of another configuration or other pairs, if another process trains in the folder,
            if the folder cannot be written to, if the batch cannot be split between the devices, or
            if the loss is not finite.
    """
    refuse_unusable(pairs, depth=config.augmentation.depth, masks=config.paste > 0)
    with folder_lock(run, "train.lock"), all_devices(config.batch):
        with random_state(config.seed):  # for the initial weights
            state = _State(config, run, pairs)
        for stage in _stages(config):
            if state.step < stage.last_step:
                _run_stage(state, stage, pairs, save_seconds, on_step)
        return state.finest()


def load_averaged(run: Path) -> keras.Model:
    """Returns the model of a checkpoint, with averaged weights.

    The run may be unfinished, but has to have trained its finest head.

    Args:
        run: Folder of the run.

    Raises:
        InputError: If the folder has no checkpoint, or a damaged one, or one from before the first
            step of the finest head.
    """
    if not (run / CHECKPOINT).is_file():
        raise InputError(f"{run}: the folder has no {CHECKPOINT}; train first")
    stored, saved = read_checkpoint(run / CHECKPOINT)
    if stored.keys() - {one.name for one in fields(TrainConfig)}:
        raise InputError(f"{run}: is not a run of `bokeh-train fit`; give {run / 'model.h5'}")
    config, step = TrainConfig(**stored), int(saved["step"])
    stage = next(stage for stage in _stages(config) if step <= stage.last_step)
    if stage.heads[-1] != config.head:
        raise InputError(
            f"{run}: is at step {step} of {config.steps + config.int8_steps}, and level by level "
            f"its output {config.head} has not been trained yet; repeat `bokeh-train fit` to go on"
        )
    state = _State(config, run)
    model, optimizer = state.open(stage)
    optimizer.finalize_variable_values(model.trainable_variables)
    return state.finest()


class _State:
    """State of a run: the network with all its heads, and the number of steps done."""

    def __init__(self, config: TrainConfig, run: Path, pairs: Sequence[Pair] = ()) -> None:
        self.config = config
        self.run = run
        self._pairs = pairs
        self._files = PairFiles.of(pairs)
        self.step = 0
        self._network = pynet(
            width=config.width,
            input_channels=config.input_channels,
            heads=config.heads,
            residual=config.residual,
        )
        self._rounds = False
        self._saved = _load(config, run)
        if self._saved:
            if pairs:
                self._files.refuse_others(run / CHECKPOINT, self._saved)
            self.step = int(self._saved["step"])
            if self.step > config.steps:
                self._round([])
            weights = [self._saved[f"w{i}"] for i in range(len(self._network.weights))]
            self._network.set_weights(weights)

    def finest(self) -> keras.Model:
        """Returns the model with the single output `config.head`."""
        finest = keras.Model(self._network.input, self._network.outputs[-1], name="pynet")
        return plain(finest) if self._rounds else finest

    def _round(self, photos: Sequence[FloatImage]) -> None:
        self._network = int8_aware(self._network, photos)
        self._rounds = True

    def open(self, stage: _Stage) -> tuple[keras.Model, Any]:
        """Returns the compiled model of a stage, and its optimizer."""
        if stage.rounds and not self._rounds:
            config, augmentation = self.config, self.config.augmentation
            steps = range(math.ceil(_RANGE_EXAMPLES / config.batch))
            examples = batches(
                self._pairs, augmentation, config.batch, seed=config.seed, steps=steps
            )
            self._round([photo for photos, _ in examples for photo in photos])
        heads = [self._network.outputs[self.config.heads.index(head)] for head in stage.heads]
        model, optimizer = _compile(keras.Model(self._network.input, heads), stage)
        if self._saved and stage.first_step < self.step:
            for i, variable in enumerate(optimizer.variables):
                variable.assign(self._saved[f"o{i}"])
        return model, optimizer

    def save(self, optimizer: Any, loss: float) -> None:
        """Writes the checkpoint, atomically, and appends a line to the log."""
        arrays = {f"w{i}": value for i, value in enumerate(self._network.get_weights())}
        for i, variable in enumerate(optimizer.variables):
            arrays[f"o{i}"] = ops.convert_to_numpy(variable.value)
        arrays |= self._files.arrays
        log = {"loss": round(loss, 6)}
        write_checkpoint(self.run, asdict(self.config), self.step, arrays, log)


def _stages(config: TrainConfig) -> list[_Stage]:
    rate = config.learning_rate
    ends = [config.steps]
    if config.by_level:
        ends = [round(config.steps * (i + 1) / len(config.heads)) for i in range(len(config.heads))]
    stages = [
        _Stage(config.heads[: i + 1] if config.by_level else config.heads, start, end, rate)
        for i, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True))
    ]
    if config.int8_steps:
        last = config.steps + config.int8_steps
        stages.append(_Stage(config.heads, config.steps, last, config.int8_learning_rate, True))
    return stages


def _compile(model: keras.Model, stage: _Stage) -> tuple[keras.Model, Any]:
    steps = stage.last_step - stage.first_step
    schedule = keras.optimizers.schedules.CosineDecay(
        stage.learning_rate / 10,
        max(1, steps - steps // 20),
        alpha=0.1,
        warmup_target=stage.learning_rate,
        warmup_steps=steps // 20,
    )
    optimizer = keras.optimizers.Adam(schedule, clipnorm=1.0, use_ema=True, ema_momentum=0.998)
    optimizer.build(model.trainable_variables)
    model.compile(
        optimizer=optimizer,
        loss=[charbonnier] * len(stage.heads),
        # Only the finest head is used later; the coarser ones are auxiliary losses.
        loss_weights=[0.2] * (len(stage.heads) - 1) + [1.0],
    )
    return model, optimizer


def _run_stage(
    state: _State,
    stage: _Stage,
    pairs: Sequence[Pair],
    save_seconds: float,
    on_step: Callable[[int, float], None],
) -> None:
    config = state.config
    model, optimizer = state.open(stage)
    smooth, saved_at = None, time.monotonic()
    for photos, targets in batches(
        pairs,
        config.augmentation,
        config.batch,
        seed=config.seed,
        steps=range(state.step, stage.last_step),
    ):
        goals = [_shrink(targets, config.crop * head_scale(head)) for head in stage.heads]
        loss = float(np.ravel(model.train_on_batch(photos, goals))[0])
        if not math.isfinite(loss):
            rate = "int8_learning_rate" if stage.rounds else "learning_rate"
            raise InputError(
                f"{state.run}: the loss is {loss} after step {state.step}",
                remedy=("start again in another folder with a lower ", Argument(rate)),
            )
        smooth = loss if smooth is None else 0.98 * smooth + 0.02 * loss
        state.step += 1
        on_step(state.step, smooth)
        last = state.step == stage.last_step
        if last:
            # Before saving, so that a resumed run starts the next stage from the same weights.
            optimizer.finalize_variable_values(model.trainable_variables)
        if last or time.monotonic() - saved_at > save_seconds:
            state.save(optimizer, smooth)
            saved_at = time.monotonic()


def _shrink(targets: FloatImage, side: float) -> FloatImage:
    size = round(side)
    if targets.shape[1] == size:
        return targets
    return np.stack([resize(target, size, size) for target in targets])


def _load(config: TrainConfig, run: Path) -> dict[str, Any] | None:
    path = run / CHECKPOINT
    if not path.is_file():
        return None
    stored, saved = read_checkpoint(path)
    # Older checkpoints lack the fields that have defaults.
    defaults = {f.name: f.default for f in fields(config) if f.default is not MISSING}
    refuse_other_config(path, {**defaults, **stored}, asdict(config))
    return saved
