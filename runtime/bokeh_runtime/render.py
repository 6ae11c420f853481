"""Renders photo files: one, or a folder of them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bokeh_runtime.backends.placement import Placement
from bokeh_runtime.depth_model import DepthModel
from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.depth import DEPTH_SUFFIXES, open_depth
from bokeh_runtime.imaging.folders import photos_in
from bokeh_runtime.imaging.photo import (
    FloatImage,
    Photo,
    Pixels,
    can_write,
    from_unit,
    read_photo,
    write_photo,
)
from bokeh_runtime.imaging.resample import Frame, scale
from bokeh_runtime.model import BokehModel

COMPARISON_SUFFIX = ".compare.jpg"
_COMPARISON_HEIGHT, _GAP = 1080, 8  # px


@dataclass(frozen=True)
class Options:
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
class Job:
    """A photo, where its result goes, and its depth map if it has one in a file."""

    photo: Path
    output: Path
    depth: Path | None = None


@dataclass(frozen=True)
class Rendered:
    """One finished file.

    Attributes:
        photo, output: Their paths.
        height, width: Of the output, in pixels.
        timings: Milliseconds: `decode_ms`, `prepare_ms`, `infer_ms`, `join_ms`, `encode_ms`.
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
    model: BokehModel, job: Job, options: Options, depth_model: DepthModel | None = None
) -> Rendered:
    """Renders one photo.

    Raises:
        InputError: If the photo cannot be read, or the result cannot be written.
    """
    return _finish(model, job, _open(job), options, depth_model)


def render_files(
    model: BokehModel,
    jobs: Sequence[Job],
    options: Options,
    depth_model: DepthModel | None = None,
) -> Iterator[Rendered | InputError]:
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


def jobs_for_folder(folder: Path, output: Path, depth: Path | None) -> tuple[list[Job], list[str]]:
    """Returns a job for each photo of a folder, in the order of their names, and notes.

    Depth maps and masks that lie between the photos are passed over; see `photos_in`.

    Raises:
        InputError: If the folder holds no photo, or two whose results would have one name.
    """
    found = photos_in(folder)
    photos = [path for path in found.photos if not path.name.endswith(COMPARISON_SUFFIX)]
    if not photos:
        raise InputError(
            f"{folder}: holds no photo; give a folder of JPEG, PNG, WebP, AVIF or TIFF files"
        )
    named: dict[str, Path] = {}
    for photo in photos:
        other = named.setdefault(result_name(photo), photo)
        if other != photo:
            raise InputError(
                f"{photo}: its result would have the name of {other.name}'s; rename one of them"
            )
    jobs = [Job(photo, output / name, _depth_of(photo, depth)) for name, photo in named.items()]
    return jobs, found.notes


def check_case(jobs: Sequence[Job]) -> None:
    """Refuses results that a folder takes for one file, not telling upper from lower case.

    Raises:
        InputError: If there are such.
    """
    named: dict[str, Job] = {}
    for job in jobs:
        other = named.setdefault(job.output.name.casefold(), job)
        if other != job and not _tells_case(job.output.parent):
            raise InputError(
                f"{job.photo}: {job.output.parent} does not tell its name from "
                f"{other.photo.name}, upper and lower case being one there; rename one of them"
            )


def result_name(photo: Path) -> str:
    """Returns the photo's name; `NAME.heic.jpg` where its format cannot be written."""
    return photo.name if can_write(photo) else f"{photo.name}.jpg"


def check_job(job: Job) -> None:
    """Checks what can be checked before the work.

    Raises:
        InputError: If the output is the photo itself, its format cannot be written, or its folder
            is missing.
    """
    if not can_write(job.output):
        raise InputError(f"{job.output}: no picture format of that suffix; use .jpg or .png")
    if not job.output.parent.is_dir():
        raise InputError(f"{job.output}: there is no folder {job.output.parent}; make it first")
    for path in (job.output, comparison_path(job)):
        if path.exists() and job.photo.exists() and path.samefile(job.photo):
            raise InputError(f"{path}: is the photo itself; choose another --output")


def comparison_path(job: Job) -> Path:
    """Returns where the picture of before and after goes."""
    # With the suffix: a.jpg and a.png of one folder have one each.
    return job.output.with_name(job.output.name + COMPARISON_SUFFIX)


def _tells_case(folder: Path) -> bool:
    with tempfile.TemporaryDirectory(prefix=".case-", dir=folder) as name:
        path = Path(name)
        return not path.with_name(path.name.upper()).exists()


def _depth_of(photo: Path, folder: Path | None) -> Path | None:
    if folder is None:
        return None
    candidates = [folder / f"{photo.stem}{suffix}" for suffix in DEPTH_SUFFIXES]
    # A missing one is told when its photo is due, so that the others are rendered.
    there = (path for path in candidates if path.is_file() and path != photo)
    return next(there, candidates[0])


def _open(job: Job) -> _Opened:
    start = time.perf_counter()
    photo = read_photo(job.photo)
    depth = None if job.depth is None else open_depth(job.depth)
    return _Opened(photo, depth, (time.perf_counter() - start) * 1000)


def _finish(
    model: BokehModel,
    job: Job,
    opened: _Opened,
    options: Options,
    depth_model: DepthModel | None,
) -> Rendered:
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
    return Rendered(job.photo, job.output, height, width, timings, placement, photo.notes)


def _reduced(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    rows = min(height, _COMPARISON_HEIGHT)
    frame = Frame.within((height, width), (rows, 4 * _COMPARISON_HEIGHT))
    return from_unit(scale(pixels, frame.height, frame.width), np.dtype(np.uint8))
