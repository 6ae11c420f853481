"""What a student learns from: the stored outputs of its teacher on views of photos."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bokeh_convert.train.views import Pixels
from bokeh_runtime.errors import InputError

CROPS, WHOLE, HELD_OUT = "crops", "whole", "heldout"
"""Sets of views: crops, views of the size of the network, and photos that are not trained on."""
DESCRIPTION, WEIGHTS = "teacher.json", "weights.npz"
"""Names of files in the folder."""

Weights = Mapping[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Teacher:
    """What a student needs to know of its teacher.

    Attributes:
        name: File name of the trained model.
        channels: Channels of the network input, 3 or 4.
        heads: PyNET's names of the outputs, by their sizes, coarsest first.
        resampling: One of `bokeh_runtime.imaging.resample.RESAMPLING`.
        width: Its channel multiplier, if it is a PyNET; None for other networks.
        unit_range: Whether its input and output are in 0..1; other teachers are run in their own
            ranges.
        residual: Whether it is a PyNET that adds its output to the photo.
        size: (height, width) of the network input, in pixels.
        multiplications: Of its convolutions, for one photo.
        static_cost: Estimated instructions of its convolutions in static int8 on a phone's CPU,
            for one photo; see `bokeh_convert.graph.cost_model`.
    """

    name: str
    channels: int
    heads: tuple[str, ...]
    resampling: str
    width: float | None
    unit_range: bool
    residual: bool
    size: tuple[int, int]
    multiplications: int
    static_cost: float


@dataclass(frozen=True)
class TeacherOutputs:
    """Outputs of the teacher on one set of views.

    Attributes:
        inputs: The views, uint8 [views, height, width, channels].
        outputs: By head, float16 [views, h, w, 3] in [0, 1].
    """

    inputs: Pixels
    outputs: Mapping[str, npt.NDArray[np.float16]]


def load_teacher(folder: Path) -> Teacher:
    """Returns what the folder says of the teacher.

    Raises:
        InputError: If the folder holds no outputs of a teacher.
    """
    try:
        stored = json.loads((folder / DESCRIPTION).read_text())["teacher"]
        lists = {"heads": tuple(stored["heads"]), "size": tuple(stored["size"])}
        return Teacher(**{**stored, **lists})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder}: has no outputs of a teacher ({error}); run it first"
        ) from error


def outputs_digest(folder: Path) -> str:
    """Returns a hash of the teacher, its photos and how it was run; "" if there is none."""
    try:
        return str(json.loads((folder / DESCRIPTION).read_text())["digest"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def load_outputs(folder: Path, name: str, heads: Sequence[str]) -> TeacherOutputs | None:
    """Opens one set of outputs, without reading it into memory; None if it is empty."""
    paths = {part: folder / f"{name}.{part}.npy" for part in ("input", *heads)}
    if not paths["input"].is_file():
        return None
    arrays = {part: np.load(path, mmap_mode="r") for part, path in paths.items()}
    return TeacherOutputs(arrays.pop("input"), arrays)


def load_weights(folder: Path) -> Weights:
    """Returns the weights as "layer/number" of a teacher of Keras 3; of others, nothing."""
    path = folder / WEIGHTS
    if not path.is_file():
        return {}
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}
