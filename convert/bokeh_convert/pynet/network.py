"""PyNET (Ignatov, Patel, Timofte, 2020, arXiv 2006.05698) as a Keras 3 model.

Five levels process the image at 1/32 to 1/2 of the input size, starting with the coarsest. Each
level passes its features to the next finer one. Names follow the authors' code, where level N is
level N + 2 of the paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import keras
from keras import layers

from bokeh_convert.pynet.layers import FirstChannels, InstanceNormalization, SpaceToDepth

HEADS = ("l5", "l4", "l3", "l2", "l1", "l0", "l_up")
"""The seven outputs, coarsest first. `l0` has the size of the input, `l_up` twice that."""

SIZE_MULTIPLE = 32
LEAKY_SLOPE = 0.2
MIN_CHANNELS = 8
WIDEST_WHOLE_KERNEL = 3
"""Wider kernels are written as `Form.kernels` says."""


@dataclass(frozen=True)
class Form:
    """How a PyNET is built from convolutions. The defaults are the authors' form.

    Attributes:
        kernels: How kernels wider than 3 x 3 are written. "whole": as one convolution.
            "factorized": as a k x 1 convolution, then a 1 x k one, which take 2 / k of the
            multiplications if both have the same number of channels. "stacked": as (k - 1) / 2
            convolutions of 3 x 3. Between the parts there is neither a bias nor an activation.
        rank: For "factorized": the channels between both, as a fraction of the output channels.
        residual_blocks: Blocks that add their input, per level, from 0 to 3.
    """

    kernels: Literal["whole", "factorized", "stacked"] = "whole"
    rank: float = 1.0
    residual_blocks: int = 3

    def channels_between(self, filters: int) -> int:
        """Returns the channels between a k x 1 and a 1 x k convolution."""
        return max(1, round(filters * self.rank))


AUTHORS_FORM = Form()


def channels(authors: int, width: float) -> int:
    """Returns the number of channels of a layer, at least 8.

    With fewer channels at half resolution, where a layer has to represent the 12 values of 2 x 2
    RGB pixels, the network cannot remove the texture of a background.

    Args:
        authors: Number of channels in the authors' network.
        width: Channel multiplier.
    """
    return max(MIN_CHANNELS, round(authors * width))


def pynet(
    *,
    width: float = 1.0,
    input_channels: int = 4,
    size: tuple[int, int] | None = None,
    heads: Sequence[str] = ("l_up",),
    residual: bool = False,
    form: Form = AUTHORS_FORM,
) -> keras.Model:
    """Builds a PyNET with random initial weights.

    Args:
        width: Channel multiplier in (0, 4]; 1.0 is the authors' network. A layer has at least 8
            channels.
        input_channels: 3 (RGB) or 4 (RGB + depth); values in [0, 1].
        size: Input (height, width) in pixels, multiples of 32; None for any size.
        heads: Outputs of the model, from `HEADS`, in this order. Layers that none of them needs are
            left out.
        residual: If False, a head is `0.58 * tanh(x) + 0.5`, as the authors'. If True, it is
            `0.58 * tanh(x)` plus the input photo, resized to the head's size. This needs far fewer
            training photos.
        form: How the network is built from convolutions.

    Returns:
        A model from float [batch, height, width, input_channels] to one float
        [batch, h, w, 3] per head, in about [0, 1], not clipped.

    Raises:
        ValueError: If an argument is outside of its range.
    """
    return pynet_in_order(
        width=width,
        input_channels=input_channels,
        size=size,
        heads=heads,
        residual=residual,
        form=form,
    )[0]


def pynet_in_order(
    *,
    width: float = 1.0,
    input_channels: int = 4,
    size: tuple[int, int] | None = None,
    heads: Sequence[str] = ("l_up",),
    residual: bool = False,
    form: Form = AUTHORS_FORM,
) -> tuple[keras.Model, list[Any]]:
    """Builds a PyNET, and returns the order of its layers in the authors' code.

    Args:
        width: See `pynet`.
        input_channels: See `pynet`.
        size: See `pynet`.
        heads: See `pynet`.
        residual: See `pynet`.
        form: See `pynet`.

    Returns:
        The model, and its layers with variables in the order in which the authors' code creates
        them. (`model.layers` is sorted by depth.)

    Raises:
        ValueError: If an argument is outside of its range.
    """
    if input_channels not in (3, 4):
        raise ValueError(
            f"input_channels is {input_channels}; it must be 3 (RGB) or 4 (RGB + depth)"
        )
    if not 0 < width <= 4:
        raise ValueError(f"width is {width}; it must be above 0 and at most 4")
    unknown = [head for head in heads if head not in HEADS]
    if unknown or not heads:
        raise ValueError(f"heads are {list(heads)}; choose from {', '.join(HEADS)}")
    if size is not None and any(side <= 0 or side % SIZE_MULTIPLE for side in size):
        raise ValueError(f"size is {size}; both sides must be multiples of {SIZE_MULTIPLE}")

    photo = keras.Input((*(size or (None, None)), input_channels), name="photo")
    graph = _Graph(width, photo, residual, form)
    outputs = graph.outputs()
    chosen = [outputs[head] for head in heads]
    model = keras.Model(photo, chosen[0] if len(chosen) == 1 else chosen, name="pynet")
    used = set(model.layers)
    return model, [layer for layer in graph.created if layer in used]


class _Graph:
    """Creates the layers in the order in which the authors' code creates its variables."""

    def __init__(self, width: float, photo: Any, residual: bool, form: Form) -> None:
        self.width = width
        self.photo = photo
        self.residual = residual
        self.form = form
        self.created: list[Any] = []

    def outputs(self) -> dict[str, Any]:
        """Returns the output tensor of each head."""
        multi, up, cat = self.multi, self.up, _cat
        out: dict[str, Any] = {}

        s2d = SpaceToDepth(name="s2d")(self.photo)
        l1_d1 = multi("l1_d1", 3, 32, s2d, norm=False)
        l2_d1 = multi("l2_d1", 3, 64, _pool("l2_pool", l1_d1))
        l3_d1 = multi("l3_d1", 3, 128, _pool("l3_pool", l2_d1))
        l4_d1 = multi("l4_d1", 3, 256, _pool("l4_pool", l3_d1))
        l5_d1 = multi("l5_d1", 3, 512, _pool("l5_pool", l4_d1))
        x = self.residual_blocks(("l5_d2", "l5_d3"), 3, 512, l5_d1)
        l5_d4 = multi("l5_d4", 3, 512, x)

        t4a, t4b = up("t4a", 256, l5_d4), up("t4b", 256, l5_d4)
        out["l5"] = self.head("l5", self.head_conv("l5", l5_d4))
        x = multi("l4_d3", 3, 256, cat("l4_d2", l4_d1, t4a))
        x = self.residual_blocks(("l4_d4", "l4_d5"), 3, 256, x)
        x = cat("l4_d6", multi("l4_d6", 3, 256, x), t4b)
        l4_d7 = multi("l4_d7", 3, 256, x)

        t3a, t3b = up("t3a", 128, l4_d7), up("t3b", 128, l4_d7)
        out["l4"] = self.head("l4", self.head_conv("l4", l4_d7))
        x = cat("l3_d2", l3_d1, t3a)
        x = self.residual_blocks(("l3_d3", "l3_d4", "l3_d5"), 5, 128, x)
        x = cat("l3_d7", multi("l3_d6", 5, 128, x), l3_d1, t3b)
        l3_d8 = multi("l3_d8", 3, 128, x)

        t2a, t2b = up("t2a", 64, l3_d8), up("t2b", 64, l3_d8)
        out["l3"] = self.head("l3", self.head_conv("l3", l3_d8))
        x = cat("l2_d3", multi("l2_d3", 5, 64, cat("l2_d2", l2_d1, t2a)), l2_d1)
        x = self.residual_blocks(("l2_d4", "l2_d5", "l2_d6"), 7, 64, x)
        x = cat("l2_d7", multi("l2_d7", 7, 64, x), l2_d1)
        x = cat("l2_d8", multi("l2_d8", 5, 64, x), t2b)
        l2_d9 = multi("l2_d9", 3, 64, x)

        t1a, t1b = up("t1a", 32, l2_d9), up("t1b", 32, l2_d9)
        out["l2"] = self.head("l2", self.head_conv("l2", l2_d9))
        x = cat("l1_d3", multi("l1_d3", 5, 32, cat("l1_d2", l1_d1, t1a), norm=False), l1_d1)
        x = multi("l1_d4", 7, 32, x, norm=False)
        x = multi("l1_d5", 9, 32, x, norm=False)
        x = self.residual_blocks(("l1_d6", "l1_d7", "l1_d8"), 9, 32, x, norm=False)
        x = cat("l1_d9", multi("l1_d9", 7, 32, x, norm=False), l1_d1)
        x = cat("l1_d11", multi("l1_d10", 5, 32, x, norm=False), t1b, l1_d1)
        l1_d12 = multi("l1_d12", 3, 32, x, norm=False)

        out["l1"] = self.head("l1", self.head_conv("l1", l1_d12))
        l0_conv = self.head_conv("l0", up("l0_up", 8, l1_d12))
        out["l0"] = self.head("l0", l0_conv)
        out["l_up"] = self.head("l_up", self.head_conv("l_up", self.up_rgb("l_up_up", l0_conv)))
        return out

    def multi(
        self, name: str, largest: int, n: int, x: Any, *, norm: bool = True, add: bool = False
    ) -> Any:
        """Adds parallel branches of two convolutions each, with kernels of 3, 5, ... `largest`."""
        branches = []
        for kernel in range(3, largest + 1, 2):
            branch = x
            for number in (1, 2):
                branch = self.conv(f"{name}_k{kernel}_{number}", kernel, n, branch, norm)
            branches.append(branch)
        joined = branches[0] if len(branches) == 1 else _cat(f"{name}_multi", *branches)
        return layers.Add(name=f"{name}_add")([joined, x]) if add else joined

    def residual_blocks(
        self, names: Sequence[str], largest: int, n: int, x: Any, *, norm: bool = True
    ) -> Any:
        """Adds the first of these blocks, as many as the form has."""
        for name in names[: self.form.residual_blocks]:
            x = self.multi(name, largest, n, x, norm=norm, add=True)
        return x

    def conv(self, name: str, kernel: int, n: int, x: Any, norm: bool) -> Any:
        filters = channels(n, self.width)
        shape: int | tuple[int, int] = kernel
        if kernel > WIDEST_WHOLE_KERNEL and self.form.kernels == "factorized":
            between = self.form.channels_between(filters)
            x = self._linear(f"{name}_column", between, (kernel, 1), x)
            shape = (1, kernel)
        elif kernel > WIDEST_WHOLE_KERNEL and self.form.kernels == "stacked":
            for number in range(1, kernel // 2):
                x = self._linear(f"{name}_stack{number}", filters, 3, x)
            shape = 3
        x = self._made(layers.Conv2D(filters, shape, padding="same", name=f"{name}_conv"))(x)
        if norm:
            x = self._made(InstanceNormalization(name=f"{name}_norm"))(x)
        return _leaky(name, x)

    def _linear(self, name: str, filters: int, shape: int | tuple[int, int], x: Any) -> Any:
        layer = layers.Conv2D(filters, shape, padding="same", use_bias=False, name=name)
        return self._made(layer)(x)

    def up(self, name: str, n: int, x: Any) -> Any:
        return self._up(name, channels(n, self.width), x)

    def up_rgb(self, name: str, x: Any) -> Any:
        return self._up(name, 3, x)

    def _up(self, name: str, filters: int, x: Any) -> Any:
        layer = layers.Conv2DTranspose(
            filters, 3, strides=2, padding="same", use_bias=False, name=f"{name}_conv"
        )
        return _leaky(name, self._made(layer)(x))

    def _made(self, layer: Any) -> Any:
        self.created.append(layer)
        return layer

    def head_conv(self, head: str, x: Any) -> Any:
        return self._made(layers.Conv2D(3, 3, padding="same", name=f"out_{head}_conv"))(x)

    def head(self, head: str, x: Any) -> Any:
        x = layers.Activation("tanh", name=f"out_{head}_tanh")(x)
        if not self.residual:
            return layers.Rescaling(0.58, offset=0.5, name=f"out_{head}")(x)
        change = layers.Rescaling(0.58, name=f"out_{head}_change")(x)
        return layers.Add(name=f"out_{head}")([self._photo_at(head), change])

    def _photo_at(self, head: str) -> Any:
        rgb = self.photo
        if rgb.shape[-1] > 3:
            rgb = FirstChannels(3, name=f"photo_rgb_{head}")(rgb)
        if head == "l_up":
            return layers.UpSampling2D(2, interpolation="bilinear", name="photo_l_up")(rgb)
        if head == "l0":
            return rgb
        return layers.AveragePooling2D(2 ** int(head[1:]), name=f"photo_{head}")(rgb)


def _cat(name: str, *tensors: Any) -> Any:
    return layers.Concatenate(name=f"{name}_cat")(list(tensors))


def _pool(name: str, x: Any) -> Any:
    return layers.MaxPooling2D(2, name=name)(x)


def _leaky(name: str, x: Any) -> Any:
    return layers.LeakyReLU(negative_slope=LEAKY_SLOPE, name=f"{name}_leaky")(x)
