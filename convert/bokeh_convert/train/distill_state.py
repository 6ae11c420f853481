"""The state of a distillation: the network, the part of the training, and the steps done in it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from bokeh_convert.train.checkpoint import (
    CHECKPOINT,
    read_checkpoint,
    refuse_other_config,
    write_checkpoint,
)
from bokeh_convert.train.devices import device_count
from bokeh_convert.train.int8_aware import (
    freeze_coarse_layers,
    int8_aware,
    with_feature_error,
)
from bokeh_convert.train.teacher_outputs import (
    CROPS,
    HELD_OUT,
    WHOLE,
    TeacherOutputs,
    load_outputs,
    outputs_digest,
)
from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.photo import FloatImage
from bokeh_runtime.metrics.grain import smooth_areas
from bokeh_runtime.metrics.psnr import psnr

_RANGE_PHOTOS = 8
_BLENDS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
"""Shares of the way from the weights before training with rounding to those after it."""
_PEAK_PSNR_DB = 99.0
"""For identical images, so that means stay finite."""


@dataclass(frozen=True)
class DistillConfig:
    """How a student is trained, stored in the checkpoint. A resumed run must match it.

    Attributes:
        crop_steps: Optimizer steps on crops.
        whole_steps: Then, steps on views of the size of the network. Instance norm sees other
            statistics in a crop, so that a student which saw only crops is worse on photos.
        int8_steps: Then, steps with the rounding of static int8, three quarters of them on crops
            if the teacher was run on any; 0 for a float student.
        batch: Batch size of crops; views have a quarter of it, one per device at least.
        learning_rate: Peak of each schedule (linear warm-up, then cosine decay to 1 %); a third of
            it on whole views.
        int8_learning_rate: The same for the steps with rounding.
        smooth_weight: Weight of the error of the gradients in smooth areas.
        ms_ssim_weight: Weight of 1 - MS-SSIM.
        feature_weight: Weight of the error of activations inside of the network, from what it
            computed before rounding was trained. Only for runs of steps with rounding alone, whose
            teacher is the model itself.
        frozen_below: In the steps with rounding, layers whose output has less than this share of
            the height of the network's keep their weights.
        evaluations: How often the student is compared with the teacher on held-out photos, in each
            part.
        patience: A part ends early after so many comparisons without a smaller loss.
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
    feature_weight: float
    frozen_below: float
    evaluations: int
    patience: int
    seed: int


@dataclass(frozen=True)
class Part:
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


class DistillState:
    """The state of a run: the network, the part of the training, and the steps done in it.

    Attributes:
        steps_done: By the names of the parts. A part that ended early is finished with fewer steps
            than it could have; `step` is then that of its end.
    """

    def __init__(
        self,
        student: keras.Model,
        heads: tuple[str, ...],
        config: DistillConfig,
        teacher: Path,
        run: Path,
    ) -> None:
        self.network = self.trained = student
        self.heads, self.config = heads, config
        self.teacher, self.run = teacher, run
        self.rounds = False
        self.part = self.step = 0
        self.steps_done: dict[str, int] = {}
        self.best: tuple[float, list[Any]] | None = None
        self.since_best = 0
        self.psnr_db: float | None = None
        self._views = {
            name: found
            for name in (CROPS, WHOLE, HELD_OUT)
            if (found := load_outputs(teacher, name, heads)) is not None
        }
        self._before_rounding: list[Any] = []
        self._teacher_digest = outputs_digest(teacher)
        self._saved: Mapping[str, Any] = {}
        path = run / CHECKPOINT
        if path.is_file():
            stored, self._saved = read_checkpoint(path)
            refuse_other_config(path, stored, asdict(config))
            self.part, self.step = int(self._saved["part"]), int(self._saved["step"])
            self._refuse_other_student(path)
            if str(self._saved.get("teacher")) != self._teacher_digest:
                raise InputError(
                    f"{path}: was trained with another teacher or other photos; use the same or "
                    "another folder"
                )
            self.steps_done = steps_of(self._saved)

    def _refuse_other_student(self, path: Path) -> None:
        """Checks the sizes of the kernels; rounding adds other weights."""
        saved = (self._saved[name] for name in sorted(self._saved) if name[0] == "w")
        stored, own = (
            sorted(tuple(map(int, array.shape)) for array in arrays if len(array.shape) > 1)
            for arrays in (saved, self.network.get_weights())
        )
        if stored != own:
            raise InputError(
                f"{path}: was trained with another student; use the same options or another folder"
            )

    def has_views(self, name: str) -> bool:
        """Whether the teacher was run on a set of views."""
        return name in self._views

    def side(self, views: str) -> int:
        """Returns the shorter side of the finest output for a set of views, in pixels."""
        return int(min(self._views[views].outputs[self.heads[-1]].shape[1:3]))

    def open(self, part: Part) -> keras.Model:
        """Makes the network ready for a part, and returns the model to train."""
        if part.rounds and not self.rounds:
            inputs = self._views[WHOLE].inputs  # neighbours are of one photo
            views = inputs[np.linspace(0, len(inputs) - 1, _RANGE_PHOTOS).round().astype(int)]
            self.network = int8_aware(self.network, [_unit(view) for view in views])
            freeze_coarse_layers(self.network, views.shape[1:], self.config.frozen_below)
            self.rounds = True
            self._before_rounding = self.network.get_weights()
            self.best = None  # with rounding, all else is worse
            weighs_features = self.config.feature_weight > 0
            self.trained = with_feature_error(self.network) if weighs_features else self.network
        return self.trained

    def resume(self, number: int, optimizer: Any) -> None:
        """Restores weights and optimizer, if the checkpoint is of this part."""
        self.since_best = 0
        if not self._saved or number != self.part:
            self.part, self.step = number, 0
            return
        saved, count = self._saved, len(self.network.weights)
        self.network.set_weights([saved[f"w{i}"] for i in range(count)])
        if "best_loss" in saved:
            self.best = float(saved["best_loss"]), [saved[f"b{i}"] for i in range(count)]
            self.psnr_db = float(saved["psnr_db"])
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
            arrays["best_loss"], arrays["psnr_db"] = np.array(self.best[0]), np.array(self.psnr_db)
        arrays["part"], arrays["since_best"] = np.array(self.part), np.array(self.since_best)
        arrays["teacher"] = np.array(self._teacher_digest)
        arrays["steps_done"] = np.array(json.dumps(self.steps_done))
        log = {"part": self.part, "loss": round(loss, 6), "psnr_db": self.psnr_db}
        write_checkpoint(self.run, asdict(self.config), self.step, arrays, log)

    def close(self) -> None:
        """Takes the best weights so far, which may be those from before the latest part."""
        if self.best is not None:
            self.network.set_weights(self.best[1])

    def evaluate(self, optimizer: Any, loss: Callable[[Any, Any], Any]) -> None:
        """Compares averaged weights with the teacher, and keeps them if they are the best."""
        current = self.network.get_weights()
        optimizer.finalize_variable_values(self.trained.trainable_variables)
        self._keep_if_best(loss)
        self.network.set_weights(current)

    def blend(self, loss: Callable[[Any, Any], Any]) -> None:
        """Goes back towards the weights before training with rounding, if that is better.

        Half of the way back halves what the network has unlearned, and brings less than half of
        the rounding error back (Wortsman et al., 2022, "Robust fine-tuning of zero-shot models").
        The network must have been trained before.
        """
        self.close()
        trained = self.network.get_weights()
        for share in _BLENDS:
            pairs = zip(self._before_rounding, trained, strict=True)
            self.network.set_weights([old + share * (new - old) for old, new in pairs])
            self._keep_if_best(loss)
        self.close()

    def _keep_if_best(self, loss: Callable[[Any, Any], Any]) -> None:
        views, losses, scores = self._views[HELD_OUT], [], []
        for number in range(len(views.inputs)):
            chosen = np.array([number])
            outputs = self.network(_unit(views.inputs[chosen]), training=False)
            finest = outputs[-1] if len(self.heads) > 1 else outputs
            target = _targets(views, self.heads[-1:], chosen)[0]
            losses.append(float(loss(target, finest)))
            if not math.isfinite(losses[-1]):  # which would count as the best, or as 99 dB
                raise InputError(
                    f"{self.run}: the loss on held-out photo {number + 1} is {losses[-1]}; "
                    "start again in another folder"
                )
            image = np.clip(ops.convert_to_numpy(finest)[0], 0, 1)
            scores.append(min(_PEAK_PSNR_DB, psnr(image, target[0, ..., :3], border_px=0)))
        self.psnr_db = round(float(np.mean(scores)), 3)
        own = float(np.mean(losses))
        if self.best is None or own < self.best[0]:
            self.best, self.since_best = (own, self.network.get_weights()), 0
        else:
            self.since_best += 1

    def batches(self, part: Part, steps: range) -> Iterator[tuple[FloatImage, list[FloatImage]]]:
        """Yields network inputs, and the teacher's outputs by head, the last with smooth areas.

        Zeros for the error of features follow if it is trained on.
        """
        views, devices = self._views[part.views], device_count()
        size = self.config.batch
        if part.views != CROPS:
            size = max(1, size // 4 // devices) * devices
        for step in steps:
            rng = np.random.default_rng((self.config.seed, self.part, step))
            count = len(views.inputs)
            chosen = np.sort(rng.choice(count, size, replace=size > count))
            targets = _targets(views, self.heads, chosen)
            if self.trained is not self.network:
                targets.append(np.zeros((len(chosen), 1), np.float32))
            yield _unit(views.inputs[chosen]), targets


def steps_of(saved: Mapping[str, Any]) -> dict[str, int]:
    """Returns the steps that were done, by the names of the parts."""
    found: dict[str, int] = json.loads(str(saved["steps_done"]))
    return found


def _targets(
    views: TeacherOutputs, heads: tuple[str, ...], chosen: np.typing.NDArray[np.intp]
) -> list[FloatImage]:
    targets = [views.outputs[head][chosen].astype(np.float32) for head in heads]
    smooth = np.stack([smooth_areas(image)[..., np.newaxis] for image in targets[-1]])
    targets[-1] = np.concatenate([targets[-1], smooth.astype(np.float32)], axis=-1)
    return targets


def _unit(pixels: Any) -> FloatImage:
    return np.asarray(pixels, np.float32) / np.float32(255)
