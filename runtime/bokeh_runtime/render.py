"""Renders photo files: reads each, has the model render it, and writes the result."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from bokeh_runtime.backends.placement import Placement
from bokeh_runtime.depth_model import DepthModel
from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.depth import DepthMap, read_depth_of_photo
from bokeh_runtime.imaging.embedded_depth import read_embedded_depth
from bokeh_runtime.imaging.encode import lost_exif
from bokeh_runtime.imaging.formats import SUFFIXES
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
from bokeh_runtime.render_jobs import EMBEDDED, Job, comparison_path

_COMPARISON_HEIGHT_PX, _COMPARISON_GAP_PX = 1080, 8


@dataclass(frozen=True)
class RenderOptions:
    """Rendering options.

    Attributes:
        strength: Weight of the network's output in the result, 0 (the photo) to 1.
        network_resolution: Whether to write the network's output at its own resolution.
        compare: Whether to write a side-by-side picture of photo and result, too.
        quality: Encoder quality of JPEG, WebP, AVIF and HEIC, 1 to 100.
        far_is_bright: Whether depth map files store depth, so that far is bright. Depth maps in
            photos say which is which themselves.
    """

    strength: float = 1.0
    network_resolution: bool = False
    compare: bool = False
    quality: int = 95
    far_is_bright: bool = False


@dataclass(frozen=True)
class RenderedFile:
    """A photo that was rendered to a file.

    Attributes:
        photo, output: Paths of the photo and of the result.
        height, width: Size of the result in pixels.
        timings: Duration of each stage in milliseconds: `decode_ms`, `prepare_ms`, `infer_ms`,
            `fuse_ms`, `encode_ms`.
        placement: Where the network ran.
        notes: Notes about the photo and its depth map; see `Photo.notes`.
    """

    photo: Path
    output: Path
    height: int
    width: int
    timings: Mapping[str, float]
    placement: Placement
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _DecodedPhoto:
    photo: Photo
    depth: FloatImage | None
    notes: tuple[str, ...]
    decode_ms: float


def render_file(
    model: BokehModel, job: Job, options: RenderOptions, depth_model: DepthModel | None = None
) -> RenderedFile:
    """Renders one photo and writes the result.

    Raises:
        InputError: If the photo cannot be read, or the result cannot be written.
        HardwareError: If the delegate fails.
    """
    return _render_decoded(model, job, _decode(job, options), options, depth_model)


def render_files(
    model: BokehModel,
    jobs: Sequence[Job],
    options: RenderOptions,
    depth_model: DepthModel | None = None,
) -> Iterator[RenderedFile | InputError]:
    """Renders photos one after the other, while a thread decodes the next one.

    At most two photos are in memory at a time.

    Yields:
        For each job, in order, the rendered file, or the error if it failed.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="decoder") as decoder:
        pending = [decoder.submit(_decode, job, options) for job in jobs[:1]]
        for i, job in enumerate(jobs):
            decoding = pending.pop()
            try:
                decoded = decoding.result()
            except InputError as error:
                decoded, failure = None, error
            pending = [decoder.submit(_decode, later, options) for later in jobs[i + 1 : i + 2]]
            if decoded is None:
                yield failure
                continue
            try:
                yield _render_decoded(model, job, decoded, options, depth_model)
            except InputError as error:
                yield error


def _decode(job: Job, options: RenderOptions) -> _DecodedPhoto:
    start = time.perf_counter()
    photo = read_photo(job.photo)
    with _enough_memory(job.photo):
        depth = None if job.depth is None else _read_depth(job.photo, job.depth, photo, options)
    notes = photo.notes if depth is None else (*photo.notes, *_depth_notes(depth, options))
    values = None if depth is None else depth.values
    return _DecodedPhoto(photo, values, notes, (time.perf_counter() - start) * 1000)


def _read_depth(path: Path, depth: Path, photo: Photo, options: RenderOptions) -> DepthMap:
    if depth == EMBEDDED:
        return read_embedded_depth(path, photo)
    return read_depth_of_photo(depth, photo, far_is_bright=options.far_is_bright)


def _depth_notes(depth: DepthMap, options: RenderOptions) -> Iterator[str]:
    for index, note in enumerate(depth.notes):
        is_hint = depth.is_probably_metric and index == 0 and not options.far_is_bright
        yield f"depth map: {note}{'; give --far-is-bright' if is_hint else ''}"


def _render_decoded(
    model: BokehModel,
    job: Job,
    decoded: _DecodedPhoto,
    options: RenderOptions,
    depth_model: DepthModel | None,
) -> RenderedFile:
    with _enough_memory(job.photo):
        return _render_and_write(model, job, decoded, options, depth_model)


@contextlib.contextmanager
def _enough_memory(photo: Path) -> Iterator[None]:
    """Raises InputError where the memory is too small for a photo."""
    try:
        yield
    except (MemoryError, cv2.error) as error:
        if isinstance(error, cv2.error) and error.code != cv2.Error.StsNoMem:
            raise
        raise InputError(f"{photo}: not enough memory; scale it down first") from error


def _render_and_write(
    model: BokehModel,
    job: Job,
    decoded: _DecodedPhoto,
    options: RenderOptions,
    depth_model: DepthModel | None,
) -> RenderedFile:
    photo, depth = decoded.photo, decoded.depth
    if depth is None and depth_model is not None:
        depth = depth_model.run(photo.pixels)
    comparison_size = _comparison_size(photo)
    before = _on_white(photo, *comparison_size) if options.compare else None
    rendering = model.render(
        photo.pixels,
        depth,
        strength=options.strength,
        network_resolution=options.network_resolution,
        in_place=True,
    )
    start = time.perf_counter()
    height, width = rendering.pixels.shape[:2]
    alpha = photo.alpha
    if alpha is not None and options.network_resolution:
        alpha = from_unit(scale(alpha[..., np.newaxis], height, width), alpha.dtype)[..., 0]
    result = replace(photo, pixels=rendering.pixels, alpha=alpha)
    write_photo(job.output, result, quality=options.quality)
    encode_ms = (time.perf_counter() - start) * 1000
    if before is not None:
        after = _on_white(result, *comparison_size)
        gap = np.full((before.shape[0], _COMPARISON_GAP_PX, 3), 255, np.uint8)
        sides = Photo(np.hstack([before, gap, after]), grey=photo.grey, icc=photo.icc)
        write_photo(comparison_path(job), sides)
    lost = lost_exif(result, SUFFIXES.get(job.output.suffix.lower()))
    timings = {"decode_ms": decoded.decode_ms, **rendering.timings, "encode_ms": encode_ms}
    return RenderedFile(
        photo=job.photo,
        output=job.output,
        height=height,
        width=width,
        timings=timings,
        placement=rendering.placement,
        notes=(*decoded.notes, *rendering.notes, *([lost] if lost else [])),
    )


def _comparison_size(photo: Photo) -> tuple[int, int]:
    """Returns the height and width of each side of the comparison."""
    height, width = photo.pixels.shape[:2]
    rows = min(height, _COMPARISON_HEIGHT_PX)
    frame = Frame.within((height, width), (rows, 4 * _COMPARISON_HEIGHT_PX))
    return frame.height, frame.width


def _on_white(photo: Photo, height: int, width: int) -> Pixels:
    """Returns the scaled photo, uint8, with white where it is transparent."""
    pixels = scale(photo.pixels, height, width)
    if photo.alpha is not None:
        opacity = scale(photo.alpha[..., np.newaxis], height, width)
        pixels = pixels * opacity + (1 - opacity)
    return from_unit(pixels, np.dtype(np.uint8))
