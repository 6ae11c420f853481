"""Finds what is to be rendered: which photos, where each result goes, and which depth map."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bokeh_runtime.errors import Argument, InputError
from bokeh_runtime.imaging.depth import DEPTH_SUFFIXES
from bokeh_runtime.imaging.folders import list_photos
from bokeh_runtime.imaging.photo import can_write

COMPARISON_SUFFIX = ".compare.jpg"
_OTHER_OUTPUT = ("choose another ", Argument("output"))


@dataclass(frozen=True)
class Job:
    """A photo, where its result goes, and its depth map if it has one in a file."""

    photo: Path
    output: Path
    depth: Path | None = None


def find_jobs(photo: Path, output: Path | None, depth: Path | None) -> tuple[list[Job], list[str]]:
    """Returns a job for a photo, or for each photo of a folder, and notes.

    Args:
        photo: A photo or a folder of them.
        output: The result's file, or a folder for it; for a folder of photos a folder, which is
            made if missing. Without it, `NAME.bokeh.jpg` beside the photo.
        depth: Its depth map; for a folder of photos, the folder of theirs.

    Raises:
        InputError: If there is no such photo, or a result cannot be where it should.
    """
    if not photo.exists():
        raise InputError(f"{photo}: no such photo or folder; check the path")
    if not photo.is_dir():
        if output is not None and output.is_dir():
            output /= result_name(photo)
        job = Job(photo, output or photo.with_name(f"{photo.stem}.bokeh.jpg"), depth)
        check_job(job)
        return [job], []
    if output is None:
        raise InputError(
            f"{photo}: is a folder",
            remedy=("give the folder for the results with ", Argument("output")),
        )
    if depth is not None and not depth.is_dir():
        raise InputError(f"{depth}: not a folder; give one map for each photo of {photo}")
    if output.exists() and not output.is_dir():
        raise InputError(f"{output}: is not a folder", remedy=_OTHER_OUTPUT)
    if output.exists() and output.samefile(photo):
        raise InputError(f"{output}: is the folder of the photos", remedy=_OTHER_OUTPUT)
    jobs, notes = jobs_for_folder(photo, output, depth)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{output}: cannot be created ({error.strerror})", remedy=_OTHER_OUTPUT
        ) from error
    check_case_collisions(jobs)
    return jobs, notes


def jobs_for_folder(folder: Path, output: Path, depth: Path | None) -> tuple[list[Job], list[str]]:
    """Returns a job for each photo of a folder, in the order of their names, and notes.

    Depth maps and masks that lie between the photos are passed over; see `list_photos`.

    Raises:
        InputError: If the folder holds no photo, or two whose results would have one name.
    """
    found = list_photos(folder)
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


def check_case_collisions(jobs: Sequence[Job]) -> None:
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
            raise InputError(f"{path}: is the photo itself", remedy=_OTHER_OUTPUT)


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
