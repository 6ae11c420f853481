"""Depth maps: read from files, or drawn by a depth network."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np

from bokeh_runtime.backends.interpreter import TfliteModel
from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.photo import FloatImage, Pixels, as_float, read_photo, to_unit
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
_TOLERANCE = 1e-3  # of depth maps that were scaled before, which may overshoot
DEPTH_SUFFIXES = (".png", ".pfm", ".tif", ".tiff", ".jpg", ".jpeg", ".webp")


def open_depth(path: Path) -> FloatImage:
    """Reads a depth map as float [height, width, 1] in [0, 1]: inverse depth, near is bright.

    8 and 16 bits are divided by their largest value, as in training; PFM
    (https://www.pauldebevec.com/Research/HDR/PFM/) is stretched to its own range.

    Raises:
        InputError: If the file is missing, does not decode, or is in colour.
    """
    if path.suffix.lower() == ".pfm":
        return normalized(_read_pfm(path))
    photo = read_photo(path)
    if not photo.grey and np.ptp(photo.pixels, axis=2).any():
        raise InputError(f"{path}: a depth map has one channel; this is a colour picture")
    return np.ascontiguousarray(to_unit(photo.pixels[..., :1]))


def normalized(depth: FloatImage) -> FloatImage:
    """Stretches inverse depth [height, width, 1] to [0, 1].

    What is not finite becomes 0, which is far; so does a flat map.
    """
    finite = np.isfinite(depth)
    if not finite.any():
        return np.zeros(depth.shape, np.float32)
    low, high = float(depth[finite].min()), float(depth[finite].max())
    if high == low:
        return np.zeros(depth.shape, np.float32)
    # In double precision: the largest floats, which files use for "unknown", have no difference.
    stretched = (np.where(finite, depth, low).astype(np.float64) - low) / (high - low)
    return stretched.astype(np.float32)


def resized(depth: FloatImage, height: int, width: int) -> FloatImage:
    """Scales a depth map to `height` x `width` pixels: by area if smaller, linear if larger.

    Args:
        depth: Inverse depth, [any height, any width, 1] or without the last axis, in [0, 1]; what
            is not finite is far.
        height: Of the result, in pixels.
        width: Of the result, in pixels.

    Raises:
        InputError: If it has another shape, or values outside [0, 1].
    """
    depth = _checked(depth)
    shrinks = height * width < depth.shape[0] * depth.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    scaled = cv2.resize(depth, (width, height), interpolation=method)
    return as_float(scaled).reshape(height, width, 1)


def _checked(depth: FloatImage) -> FloatImage:
    values = np.asarray(depth)
    if values.ndim not in (2, 3) or values.shape[2:] not in ((), (1,)) or 0 in values.shape:
        raise InputError(f"a depth map is [height, width, 1], not {list(values.shape)}; reshape it")
    if values.dtype.kind != "f":
        raise InputError(f"a depth map is float in [0, 1], not {values.dtype}; divide and cast it")
    finite = as_float(np.where(np.isfinite(values), values, 0))
    if finite.min() < -_TOLERANCE or finite.max() > 1 + _TOLERANCE:
        raise InputError(
            f"a depth map is in [0, 1], not {finite.min():g} to {finite.max():g}; "
            "bokeh_runtime.imaging.depth.normalized scales it"
        )
    return finite


def _read_pfm(path: Path) -> FloatImage:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    number = rb"-?\d*\.?\d+(?:[eE][-+]?\d+)?"
    header = re.match(rb"(P[fF])\s+(\d{1,9})\s+(\d{1,9})\s+(" + number + rb")\s", content)
    if header is None or header[1] != b"Pf":
        raise InputError(f"{path}: not a PFM file of one channel; give one that begins with Pf")
    width, height = int(header[2]), int(header[3])
    order = "<" if float(header[4]) < 0 else ">"
    values = content[header.end() :]
    if width * height == 0 or len(values) != width * height * 4:
        raise InputError(f"{path}: damaged or cut short (size does not fit); copy it again")
    rows = np.frombuffer(values, f"{order}f4").reshape(height, width, 1)
    return np.ascontiguousarray(rows[::-1], np.float32)  # a PFM begins with its lowest row


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
        return normalized(-depth if self._far_is_bright else depth)

    def close(self) -> None:
        """Releases the network's memory; it cannot run any more."""
        self._model.close()
