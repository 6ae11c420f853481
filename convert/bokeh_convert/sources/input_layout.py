"""How one image tensor becomes what a network takes, and its outputs become images again.

The rest of the project feeds every network one float tensor [1, height, width, channels]. Networks
that take a photo and a depth map apart, that put the channels first, or that take integers are
wrapped when they are traced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from bokeh_convert.sources.model_types import Tensor
from bokeh_runtime.errors import InputError
from bokeh_runtime.tflite.value_range import UNIT, ValueRange

_PHOTO_CHANNELS = (1, 3, 4)
Shape = Sequence[int | None]


@dataclass(frozen=True)
class NetworkInput:
    """One input of a network.

    Attributes:
        name: The source's name for it.
        shape: Its dimensions, the batch first; None where they are open.
        dtype: TensorFlow's type.
    """

    name: str
    shape: Shape
    dtype: tf.DType


@dataclass(frozen=True)
class InputLayout:
    """What a network takes.

    Attributes:
        height, width: In pixels; None where the network leaves them open.
        channels: Of the wrapped tensor: 1 (luminance), 3 (RGB) or 4 (RGB + depth).
        channels_first: Whether the network takes [batch, channels, height, width].
        inputs: The network's inputs in its own order: the photo, or the photo and the depth map.
        depth: Which of two inputs is the depth map; None if there is one input.
        depth_range: Values of far and near in the depth channel of the wrapped tensor. The whole
            tensor has one value range, the photo's; a depth map of its own is fed 0..1, or 0..255
            if it is an integer.
    """

    height: int | None
    width: int | None
    channels: int
    channels_first: bool
    inputs: tuple[NetworkInput, ...]
    depth: int | None = None
    depth_range: ValueRange = UNIT

    @property
    def takes_integers(self) -> bool:
        """Whether the photo's input is uint8."""
        photo = self.inputs[0 if self.depth != 0 else 1]
        return bool(photo.dtype == tf.uint8)

    def feed(self, image: Tensor) -> list[Tensor]:
        """Returns the network's inputs for a tensor [1, height, width, channels]."""
        if self.depth is None:
            parts = [image]
        else:
            photo, depth = tf.split(image, [3, 1], axis=-1)
            if self.depth_range != UNIT:
                low, high = self.depth_range.low, self.depth_range.high
                depth = (depth - low) / (high - low)
            if self.inputs[self.depth].dtype.is_integer:
                depth = depth * 255.0
            parts = [depth, photo] if self.depth == 0 else [photo, depth]
        return [self._fed(part, own) for part, own in zip(parts, self.inputs, strict=True)]

    def _fed(self, part: Tensor, own: NetworkInput) -> Tensor:
        if self.channels_first:
            part = tf.transpose(part, [0, 3, 1, 2])
        if own.dtype.is_integer:
            part = tf.round(part)
        fed: Tensor = tf.cast(part, own.dtype)
        return fed

    def images(self, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns the network's outputs as float32, channels last."""
        found = {}
        for name, output in outputs.items():
            image = tf.cast(output, tf.float32)
            if self.channels_first and image.shape.rank == 4:
                image = tf.transpose(image, [0, 2, 3, 1])
            found[name] = image
        return found


def layout_of(path: Path, inputs: Sequence[NetworkInput]) -> InputLayout:
    """Returns how a network's inputs are fed.

    Raises:
        InputError: If they are not a photo, or a photo and a depth map.
    """
    if len(inputs) not in (1, 2):
        raise InputError(
            f"{path}: has {len(inputs)} inputs ({_listed(inputs)}); give a network that takes a "
            "photo, or a photo and a depth map"
        )
    for own in inputs:
        if len(own.shape) != 4:
            raise InputError(
                f"{path}: its input {own.name} is {_text(own.shape)}; it needs one of "
                "[batch, height, width, channels]"
            )
    first = _channels_first(inputs)
    sizes = [_height_width_channels(own.shape, first) for own in inputs]
    if len(inputs) == 1:
        ((height, width, channels),) = sizes
        if channels not in _PHOTO_CHANNELS:
            raise InputError(
                f"{path}: its input has {channels} channels; 1 (luminance), 3 (RGB) or 4 (RGB + "
                "depth) can be fed"
            )
        return InputLayout(height, width, channels, first, tuple(inputs))
    channels_of = [channels for _, _, channels in sizes]
    if sorted(channels_of, key=str) != [1, 3] or sizes[0][:2] != sizes[1][:2]:
        raise InputError(
            f"{path}: its inputs are {_listed(inputs)}; two inputs must be a photo of 3 channels "
            "and a depth map of 1, of the same size"
        )
    height, width, _ = sizes[0]
    return InputLayout(height, width, 4, first, tuple(inputs), channels_of.index(1))


def _channels_first(inputs: Sequence[NetworkInput]) -> bool:
    """Whether the channels stand first: their number fits there, and not at the end."""

    def fits(place: int) -> bool:
        return all(own.shape[place] in _PHOTO_CHANNELS for own in inputs)

    return fits(1) and not fits(3)


def _height_width_channels(shape: Shape, first: bool) -> tuple[int | None, int | None, int]:
    order = (2, 3, 1) if first else (1, 2, 3)
    height, width, channels = (shape[place] for place in order)
    return height, width, 0 if channels is None else channels


def _listed(inputs: Sequence[NetworkInput]) -> str:
    return " and ".join(f"{own.name} {_text(own.shape)}" for own in inputs)


def _text(shape: Shape) -> str:
    return "[" + ", ".join("any" if side is None else str(side) for side in shape) + "]"
