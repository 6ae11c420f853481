"""Augmented training batches from photo pairs, decoded in the background."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np

from bokeh_convert.train.pairs import Pair
from bokeh_runtime.imaging.depth import open_depth, open_depth_of_photo
from bokeh_runtime.imaging.photo import FloatImage, open_photo, read_photo, to_unit

_DECODED_AHEAD = 3


@dataclass(frozen=True)
class AugmentationConfig:
    """How a training example is made from a pair.

    Attributes:
        crop: Side of the square network input, in pixels; a multiple of 32.
        short_side: Short side to which the whole photo is resized before the crop and before the
            random zoom, in pixels.
        scale: Size of the finest output relative to the input (2 for `l_up`, 1 for `l0`, ...).
        depth: Whether the depth map is the fourth input channel.
        paste: Probability of pasting the masked subject of another pair into the scene, in [0, 1].
            This gives more combinations of subject and background than the data set has.
    """

    crop: int
    short_side: int
    scale: float
    depth: bool
    paste: float = 0.0


@dataclass
class _Scene:
    """Images of one pair, float [side, side, channels] at the resolution of the finest output."""

    sharp: FloatImage
    bokeh: FloatImage
    depth: FloatImage | None
    mask: FloatImage | None


def resize(image: FloatImage, height: int, width: int) -> FloatImage:
    """Resizes float [h, w, channels] to `height` x `width`: area to shrink, else bicubic."""
    shrinks = height < image.shape[0]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    out = cv2.resize(image, (width, height), interpolation=method).astype(np.float32)
    return out.reshape(height, width, image.shape[-1])


def make_example(
    pairs: Sequence[Pair], config: AugmentationConfig, rng: np.random.Generator
) -> tuple[FloatImage, FloatImage]:
    """Makes one augmented example from random pairs.

    Returns:
        Network input, float [crop, crop, 3 or 4], and target, float [side, side, 3] with
        side = crop * max(scale, 1); both in [0, 1].

    Raises:
        InputError: If a file cannot be read.
    """
    scene = _cut(pairs[int(rng.integers(len(pairs)))], config, rng)
    if config.paste and rng.random() < config.paste:
        _paste(scene, _cut(pairs[int(rng.integers(len(pairs)))], config, rng), rng)
    # Random exposure and white balance, the same for input and target.
    gain = rng.uniform(0.85, 1.15) * rng.uniform(0.93, 1.07, size=3).astype(np.float32)
    gamma = np.float32(rng.uniform(0.8, 1.25))
    sharp, bokeh = (
        np.clip(gain * np.clip(plane, 0, 1) ** gamma, 0, 1).astype(np.float32)
        for plane in (scene.sharp, scene.bokeh)
    )
    photo = resize(sharp, config.crop, config.crop)
    if config.depth:
        assert scene.depth is not None
        photo = np.concatenate([photo, resize(scene.depth, config.crop, config.crop)], axis=-1)
    return photo, bokeh


def _cut(pair: Pair, config: AugmentationConfig, rng: np.random.Generator) -> _Scene:
    """Reads a pair and returns a random square crop, randomly zoomed and mirrored."""
    assert pair.depth or not config.depth, "training checks this before its first step"
    side = round(config.crop * max(config.scale, 1.0))
    short = config.short_side * max(config.scale, 1.0)
    zoom = rng.uniform(0.9, 1.2)
    at, mirror = rng.random(2), rng.random() < 0.5

    def cut(plane: FloatImage) -> FloatImage:
        height, width = plane.shape[:2]
        factor = max(short * zoom / min(height, width), side / min(height, width))
        plane = resize(plane, max(side, round(height * factor)), max(side, round(width * factor)))
        top, left = (int(at[i] * (plane.shape[i] - side + 1)) for i in (0, 1))
        plane = plane[top : top + side, left : left + side]
        return plane[:, ::-1] if mirror else plane

    sharp = read_photo(pair.sharp)
    return _Scene(
        cut(to_unit(sharp.pixels)),
        cut(open_photo(pair.bokeh)),
        cut(open_depth_of_photo(pair.depth, sharp)) if config.depth and pair.depth else None,
        cut(open_depth(pair.mask)) if config.paste and pair.mask else None,
    )


def _paste(scene: _Scene, other: _Scene, rng: np.random.Generator) -> None:
    """Pastes the subject of `other` into all images of `scene`, randomly moved and scaled."""
    if other.mask is None:
        return
    side = scene.sharp.shape[0]
    factor = rng.uniform(0.6, 1.3)
    shift = (1 - factor) * side / 2 + rng.uniform(-0.25, 0.25, size=2) * side
    move = np.array([[factor, 0, shift[0]], [0, factor, shift[1]]], dtype=np.float64)

    def moved(plane: FloatImage) -> FloatImage:
        out = cv2.warpAffine(plane, move, (side, side), flags=cv2.INTER_LINEAR)
        return out.reshape(plane.shape).astype(np.float32)

    alpha = moved(other.mask)
    scene.sharp = scene.sharp * (1 - alpha) + moved(other.sharp) * alpha
    scene.bokeh = scene.bokeh * (1 - alpha) + moved(other.bokeh) * alpha
    if scene.depth is not None and other.depth is not None:
        scene.depth = scene.depth * (1 - alpha) + moved(other.depth) * alpha


def batches(
    pairs: Sequence[Pair], config: AugmentationConfig, batch: int, *, seed: int, steps: range
) -> Iterator[tuple[FloatImage, FloatImage]]:
    """Yields one batch per step: inputs [batch, crop, crop, 3 or 4], targets [batch, s, s, 3].

    The batch of a step depends only on `seed` and the step, so a resumed run gets the same batches
    as an uninterrupted one. For the shapes and values, see `make_example`.

    Args:
        pairs: The training pairs.
        config: How the examples are made.
        batch: Batch size.
        seed: Random seed.
        steps: The steps to yield batches for.
    """

    def make(step: int) -> tuple[FloatImage, FloatImage]:
        rng = np.random.default_rng((seed, step))
        photos, targets = zip(
            *(make_example(pairs, config, rng) for _ in range(batch)), strict=True
        )
        return np.stack(photos), np.stack(targets)

    with ThreadPoolExecutor(1) as decoder:
        ahead = deque(decoder.submit(make, step) for step in steps[:_DECODED_AHEAD])
        for step in steps:
            ready = ahead.popleft()
            if step + _DECODED_AHEAD in steps:
                ahead.append(decoder.submit(make, step + _DECODED_AHEAD))
            yield ready.result()
