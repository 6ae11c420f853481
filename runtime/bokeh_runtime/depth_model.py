"""Depth maps from a monocular depth network."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bokeh_runtime.backends.interpreter import TfliteModel
from bokeh_runtime.errors import Argument, InputError
from bokeh_runtime.imaging.depth import normalize_depth
from bokeh_runtime.imaging.photo import FloatImage, Pixels, as_float
from bokeh_runtime.imaging.resample import scale
from bokeh_runtime.tflite.file import read_tflite

_ONE, _NONE = np.ones(3, np.float32), np.zeros(3, np.float32)
# Normalizations (x - offset) * factor of an image x in [0, 1]. "imagenet" uses ImageNet's mean and
# standard deviation.
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
    """A monocular depth network on the CPU: one image in, one map of inverse depth out.

    Args:
        path: The .tflite file, with an input of [1, height, width, 3] or [1, 3, height, width].
        values: Range of the input: "0..1", "-1..1", "0..255", or "imagenet" (0 to 1, normalized
            with the mean and standard deviation of ImageNet; MiDaS and Depth Anything use this).
        far_is_bright: Whether the network outputs depth instead of inverse depth.
        threads: Number of CPU threads. None uses all cores.
        interpreter: See `TfliteModel`.

    Attributes:
        identity: Everything that determines the depth maps: the hash of the file, `values` and
            `far_is_bright`.

    Raises:
        InputError: If the file is missing, damaged, or does not map one image to one depth map, or
            `values` is unknown.
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
                Argument("values", values), f": unknown; use one of {', '.join(DEPTH_INPUTS)}"
            )
        file = read_tflite(path)
        input_shape = file.tensors[file.inputs[0]].shape
        output_shapes = [file.tensors[index].shape for index in file.outputs]
        takes_image = (
            len(input_shape) == 4 and input_shape[0] == 1 and 3 in (input_shape[1], input_shape[3])
        )
        maps = [
            i for i, shape in enumerate(output_shapes) if len([n for n in shape if n != 1]) == 2
        ]
        if len(file.inputs) != 1 or not takes_image or len(maps) != 1:
            found = " and ".join(str(list(shape)) for shape in output_shapes)
            raise InputError(
                f"{path}: does not map one image to one depth map "
                f"({list(input_shape)} to {found}); give a monocular depth network"
            )
        self._channels_first = input_shape[3] != 3
        self._height, self._width = input_shape[2:4] if self._channels_first else input_shape[1:3]
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
        """Estimates the inverse depth of a photo.

        Args:
            pixels: uint8 or uint16 [height, width, 3], RGB. It is resized to the network's input
                without keeping its aspect ratio.

        Returns:
            float32 [network height, network width, 1] in [0, 1], near is 1.

        Raises:
            InputError: If the interpreter fails on the file, or the model is closed.
        """
        resized = scale(pixels, self._height, self._width)
        image = as_float((resized - self._offset) * self._factor)
        if self._channels_first:
            image = image.transpose(2, 0, 1)
        depth = np.squeeze(self._model.run(np.ascontiguousarray(image)))[..., np.newaxis]
        # Negated before it is normalized, since that maps values that are not finite to far.
        return normalize_depth(-depth if self._far_is_bright else depth)

    def close(self) -> None:
        """Releases the network's memory. The model cannot run afterwards."""
        self._model.close()
