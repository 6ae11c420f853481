"""Renders photo files: reads each, has the model render it, and writes the result."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bokeh_runtime.backends.placement import Placement
from bokeh_runtime.depth_model import DepthModel
from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.depth import open_depth
from bokeh_runtime.imaging.photo import (
    FloatImage,
    Photo,
    Pixels,
    from_unit,
    read_photo,
    write_photo,
)
from bokeh_runtime.imaging.resample import Frame, scale
from bokeh_runtime.model import BokehModel
from bokeh_runtime.render_jobs import Job, comparison_path

_COMPARISON_HEIGHT, _GAP = 1080, 8  # px


@dataclass(frozen=True)
class RenderOptions:
    """How to render.

    Attributes:
        strength: 1 draws what the network does, 0 the photo.
        network_resolution: Write the network's own picture.
        compare: Write a picture of before and after beside each result.
        quality: Of JPEG, WebP, AVIF and HEIC, 1 to 100.
    """

    strength: float = 1.0
    network_resolution: bool = False
    compare: bool = False
    quality: int = 95


@dataclass(frozen=True)
class RenderedFile:
    """One finished file.

    Attributes:
        photo, output: Their paths.
        height, width: Of the output, in pixels.
        timings: Milliseconds: `decode_ms`, `prepare_ms`, `infer_ms`, `fuse_ms`, `encode_ms`.
        placement: Where the network ran.
        notes: Of the photo; see `Photo.notes`.
    """

    photo: Path
    output: Path
    height: int
    width: int
    timings: Mapping[str, float]
    placement: Placement
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Opened:
    photo: Photo
    depth: FloatImage | None
    decode_ms: float


def render_file(
    model: BokehModel, job: Job, options: RenderOptions, depth_model: DepthModel | None = None
) -> RenderedFile:
    """Renders one photo.

    Raises:
        InputError: If the photo cannot be read, or the result cannot be written.
    """
    return _finish(model, job, _open(job), options, depth_model)


def render_files(
    model: BokehModel,
    jobs: Sequence[Job],
    options: RenderOptions,
    depth_model: DepthModel | None = None,
) -> Iterator[RenderedFile | InputError]:
    """Renders photos one after the other, while a thread reads the next one.

    At most two photos are in memory, however many there are.

    Yields:
        For each job, in order, what came out, or why nothing did.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="decoder") as decoder:
        ahead = [decoder.submit(_open, job) for job in jobs[:1]]
        for i, job in enumerate(jobs):
            opening = ahead.pop()
            try:
                opened = opening.result()
            except InputError as error:
                opened, failure = None, error
            ahead = [decoder.submit(_open, later) for later in jobs[i + 1 : i + 2]]
            if opened is None:
                yield failure
                continue
            try:
                yield _finish(model, job, opened, options, depth_model)
            except InputError as error:
                yield error


def _open(job: Job) -> _Opened:
    start = time.perf_counter()
    photo = read_photo(job.photo)
    depth = None if job.depth is None else open_depth(job.depth)
    return _Opened(photo, depth, (time.perf_counter() - start) * 1000)


def _finish(
    model: BokehModel,
    job: Job,
    opened: _Opened,
    options: RenderOptions,
    depth_model: DepthModel | None,
) -> RenderedFile:
    photo, depth = opened.photo, opened.depth
    if depth is None and depth_model is not None:
        depth = depth_model.run(photo.pixels)
    before = _reduced(photo.pixels) if options.compare else None
    rendering = model.render(
        photo.pixels,
        depth,
        strength=options.strength,
        network_resolution=options.network_resolution,
        in_place=True,
    )
    start = time.perf_counter()
    height, width = rendering.pixels.shape[:2]
    alpha = None if options.network_resolution else photo.alpha
    result = replace(photo, pixels=rendering.pixels, alpha=alpha)
    write_photo(job.output, result, quality=options.quality)
    encode_ms = (time.perf_counter() - start) * 1000
    if before is not None:
        after = from_unit(scale(rendering.pixels, *before.shape[:2]), before.dtype)
        gap = np.full((before.shape[0], _GAP, 3), 255, np.uint8)
        write_photo(comparison_path(job), Photo(np.hstack([before, gap, after]), icc=photo.icc))
    timings = {"decode_ms": opened.decode_ms, **rendering.timings, "encode_ms": encode_ms}
    placement = rendering.placement
    return RenderedFile(job.photo, job.output, height, width, timings, placement, photo.notes)


def _reduced(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    rows = min(height, _COMPARISON_HEIGHT)
    frame = Frame.within((height, width), (rows, 4 * _COMPARISON_HEIGHT))
    return from_unit(scale(pixels, frame.height, frame.width), np.dtype(np.uint8))
