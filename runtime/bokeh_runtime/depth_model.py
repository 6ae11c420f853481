"""Depth maps from a monocular depth network."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bokeh_runtime.backends.interpreter import TfliteModel
from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.depth import normalize_depth
from bokeh_runtime.imaging.photo import FloatImage, Pixels, as_float
from bokeh_runtime.imaging.resample import scale
from bokeh_runtime.tflite.file import read_tflite

_ONE, _NONE = np.ones(3, np.float32), np.zeros(3, np.float32)
# What a depth network takes: what is subtracted from [0, 1], and what it is multiplied by then.
DEPTH_INPUTS: dict[str, tuple[FloatImage, FloatImage]] = {
    "imagenet": (
        np.array([0.485, 0.456, 0.406], np.float32),
        as_float(1 / np.array([0.229, 0.224, 0.225])),
    ),
    "0..1": (_NONE, _ONE),
    "-1..1": (as_float(_ONE / 2), as_float(_ONE * 2)),
    "0..255": (_NONE, as_float(_ONE * 255)),
}


class DepthModel:
    """A monocular depth network: one image in, one map of inverse depth out.

    Args:
        path: Of its .tflite file, of any layout: [1, height, width, 3] or [1, 3, height, width].
        values: What it takes: "imagenet" (0 to 1, then normalized by ImageNet's mean and deviation;
            MiDaS, Depth Anything), "0..1", "-1..1" or "0..255".
        far_is_bright: It draws depth, not inverse depth.
        threads: Of the CPU, on which it runs.
        interpreter: As for `TfliteModel`.

    Attributes:
        identity: What decides its maps: hash of the file, `values` and `far_is_bright`.

    Raises:
        InputError: If the file is missing, damaged, or not from one image to one map, or `values`
            is unknown.
    """

    def __init__(
        self,
        path: Path,
        *,
        values: str = "imagenet",
        far_is_bright: bool = False,
        threads: int | None = None,
        interpreter: str | None = None,
    ) -> None:
        if values not in DEPTH_INPUTS:
            raise InputError(
                f"depth network values '{values}' are unknown; use one of {', '.join(DEPTH_INPUTS)}"
            )
        file = read_tflite(path)
        entry = file.tensors[file.inputs[0]].shape
        results = [file.tensors[index].shape for index in file.outputs]
        image = len(entry) == 4 and entry[0] == 1 and 3 in (entry[1], entry[3])
        maps = [i for i, shape in enumerate(results) if len([n for n in shape if n != 1]) == 2]
        if len(file.inputs) != 1 or not image or len(maps) != 1:
            there = " and ".join(str(list(shape)) for shape in results)
            raise InputError(
                f"{path}: not from one image to one map ({list(entry)} to {there}); "
                "give a monocular depth network"
            )
        self._channels_first = entry[3] != 3
        self._height, self._width = entry[2:4] if self._channels_first else entry[1:3]
        self._offset, self._factor = DEPTH_INPUTS[values]
        self._far_is_bright = far_is_bright
        self.identity = {
            "sha256": file.sha256, "values": values, "far_is_bright": far_is_bright
        }  # fmt: skip
        self._model = TfliteModel(
            file.content,
            threads=threads,
            interpreter=interpreter,
            output=maps[0],
            name=str(path),
        )

    def run(self, pixels: Pixels) -> FloatImage:
        """Returns inverse depth, [rows, columns, 1] in [0, 1], of the whole photo.

        Args:
            pixels: uint8 or uint16 [height, width, 3].
        """
        seen = scale(pixels, self._height, self._width)
        image = as_float((seen - self._offset) * self._factor)
        if self._channels_first:
            image = image.transpose(2, 0, 1)
        depth = np.squeeze(self._model.run(np.ascontiguousarray(image)))[..., np.newaxis]
        # Turned before it is stretched: what is not finite is far either way.
        return normalize_depth(-depth if self._far_is_bright else depth)

    def close(self) -> None:
        """Releases the network's memory; it cannot run any more."""
        self._model.close()
