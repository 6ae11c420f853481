"""Views of ordinary photos: random windows, from which a student learns what its teacher draws."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bokeh_convert.data.calibration_data import Sample, read_depth_plane, synthetic_depth
from bokeh_runtime.imaging.luminance import luminance
from bokeh_runtime.imaging.photo import FloatImage, read_photo, to_unit
from bokeh_runtime.imaging.resample import fit

Pixels = npt.NDArray[np.uint8]
_SMALLEST_WINDOW = 0.35
"""Smallest window, as a fraction of the largest one in the photo."""


@dataclass(frozen=True)
class ViewConfig:
    """How views are cut.

    Attributes:
        count: Number of views.
        height, width: Size of a view, in pixels.
        channels: 1 (luminance), 3 (RGB) or 4 (RGB + depth).
        resampling: One of `bokeh_runtime.imaging.resample.RESAMPLING`.
        seed: Random seed of the windows and the exposure; None for one view per photo, of the
            whole photo as it is.
    """

    count: int
    height: int
    width: int
    channels: int
    resampling: str
    seed: int | None


def sample_of(samples: Sequence[Sample], config: ViewConfig, number: int) -> Sample:
    """Returns the photo of a view: all photos in their order, each as often as the others."""
    return samples[_position(samples, config, number)]


def _position(samples: Sequence[Sample], config: ViewConfig, number: int) -> int:
    return number * len(samples) // config.count


def views(samples: Sequence[Sample], config: ViewConfig, first: int = 0) -> Iterator[Pixels]:
    """Yields the views from number `first`, uint8 [height, width, channels].

    Consecutive views are of one photo, so that each photo is read once. Where a photo has no depth
    map and one is needed, the depth is synthetic. View n does not depend on `first`.

    Raises:
        InputError: If a photo cannot be read.
    """
    opened, planes = -1, np.empty(0, np.float32)
    for number in range(first, config.count):
        photo = _position(samples, config, number)
        if photo != opened:
            opened = photo
            planes = _planes(samples[opened], config, opened)
        if config.seed is None:
            view = fit(planes, config.height, config.width, config.resampling)
        else:
            view = _window(planes, config, np.random.default_rng((config.seed, number)))
        if config.channels == 1:
            view = luminance(view)
        yield np.round(np.clip(view, 0, 1) * 255).astype(np.uint8)


def _planes(sample: Sample, config: ViewConfig, number: int) -> FloatImage:
    """Reads a photo as float [height, width, 3 or 4] in [0, 1]."""
    photo = read_photo(sample.photo)
    image = to_unit(photo.pixels)
    if config.channels != 4:
        return image
    height, width = image.shape[:2]
    if sample.depth is None:
        depth = synthetic_depth(height, width, np.random.default_rng((config.seed or 0, number)))
    else:
        depth = read_depth_plane(sample, photo, height, width)
    return np.concatenate([image, depth], axis=-1)


def _window(planes: FloatImage, config: ViewConfig, rng: np.random.Generator) -> FloatImage:
    """Cuts a random window, mirrors it at random, and varies exposure and white balance."""
    height, width = planes.shape[:2]
    largest = min(height / config.height, width / config.width)
    # Not enlarged, unless the photo is smaller than the view.
    factor = max(min(1.0, largest), largest * rng.uniform(_SMALLEST_WINDOW, 1.0))
    rows, columns = (
        min(side, round(goal * factor))
        for side, goal in ((height, config.height), (width, config.width))
    )
    top, left = (int(rng.integers(0, side + 1)) for side in (height - rows, width - columns))
    view = planes[top : top + rows, left : left + columns]
    if rng.random() < 0.5:
        view = view[:, ::-1]
    view = fit(np.ascontiguousarray(view), config.height, config.width, config.resampling)
    view[..., :3] **= np.float32(rng.uniform(0.8, 1.25))
    view[..., :3] *= rng.uniform(0.85, 1.15) * rng.uniform(0.95, 1.05, size=3).astype(np.float32)
    return view
