"""Finds the photos to render, the path of each result, and each depth map."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bokeh_runtime.errors import Argument, InputError
from bokeh_runtime.imaging.depth_lookup import depth_map_in
from bokeh_runtime.imaging.folder_walk import RENDER_RECORD, RESULT_SUFFIX
from bokeh_runtime.imaging.folders import list_photos
from bokeh_runtime.imaging.photo import can_write

COMPARISON_SUFFIX = ".compare.jpg"
EMBEDDED = Path("embedded")
"""In place of the path of a depth map: the one that is stored in the photo."""
_OTHER_OUTPUT = ("choose another ", Argument("output"))


@dataclass(frozen=True)
class Job:
    """Paths of a photo, of its result, and of its depth map.

    Attributes:
        photo, output: Paths of the photo and of the result.
        depth: The depth map's file; `EMBEDDED` for the one in the photo; None if there is none.
    """

    photo: Path
    output: Path
    depth: Path | None = None


def find_jobs(photo: Path, output: Path | None, depth: Path | None) -> tuple[list[Job], list[str]]:
    """Returns a job for a photo, or for each photo of a folder, and notes for the user.

    Args:
        photo: A photo or a folder of photos.
        output: Path of the result, or a folder for it. For a folder of photos it must be a folder,
            which is created if it does not exist. None writes `NAME.bokeh.jpg` next to the photo.
        depth: The depth map; `EMBEDDED` for the one that is stored in the photo. For a folder of
            photos, a folder of depth maps with the same names and subfolders, or `EMBEDDED`.

    Raises:
        InputError: If the photo does not exist, or a result cannot be written to its path.
    """
    if not photo.exists():
        raise InputError(f"{photo}: no such photo or folder; check the path")
    if not photo.is_dir():
        if not photo.is_file():  # a pipe would be waited for without end
            raise InputError(f"{photo}: is neither a file nor a folder; give a photo")
        if output is not None and output.is_dir():
            output /= result_name(photo)
        job = Job(photo, output or photo.with_name(f"{photo.stem}{RESULT_SUFFIX}"), depth)
        check_job(job)
        return [job], []
    if output is None:
        raise InputError(
            f"{photo}: is a folder",
            remedy=("give the folder for the results with ", Argument("output")),
        )
    if depth is not None and depth != EMBEDDED and not depth.is_dir():
        raise InputError(f"{depth}: not a folder; give a folder with a depth map for each photo")
    if output.exists() and not output.is_dir():
        raise InputError(f"{output}: is not a folder", remedy=_OTHER_OUTPUT)
    for folder, kind in ((photo, "photos"), (depth, "depth maps")):
        if folder and output.exists() and folder.exists() and output.samefile(folder):
            raise InputError(f"{output}: is the folder of the {kind}", remedy=_OTHER_OUTPUT)
    jobs, notes = jobs_for_folder(photo, output, depth)
    try:
        for folder in dict.fromkeys((output, *(job.output.parent for job in jobs))):
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{output}: cannot be created ({error.strerror})", remedy=_OTHER_OUTPUT
        ) from error
    check_case_collisions(jobs)
    return jobs, notes


def jobs_for_folder(folder: Path, output: Path, depth: Path | None) -> tuple[list[Job], list[str]]:
    """Returns a job for each photo of a folder and its subfolders, and notes for the user.

    The results have the same subfolders. Depth maps, masks and other files among the photos are
    skipped; see `list_photos`. So are the output folder and the folder of depth maps, if they are
    subfolders.

    Raises:
        InputError: If the folder has no photo, or two results would have the same name.
    """
    found = list_photos(folder, exclude=[output] if depth is None else [output, depth])
    photos = [path for path in found.photos if not path.name.endswith(COMPARISON_SUFFIX)]
    if not photos:
        raise InputError(
            f"{folder}: has no photos; give a folder of JPEG, PNG, WebP, AVIF or TIFF files"
        )
    named: dict[Path, Path] = {}
    for photo in photos:
        subfolder = photo.parent.relative_to(folder)
        earlier = named.setdefault(output / subfolder / result_name(photo), photo)
        if earlier != photo:
            raise InputError(
                f"{photo}: its result would have the name of {earlier.name}'s; rename one of them"
            )
    jobs = [Job(photo, path, _depth_of(photo, folder, depth)) for path, photo in named.items()]
    return jobs, [*found.notes, *_notes_on_output(folder, output)]


def _notes_on_output(folder: Path, output: Path) -> list[str]:
    """Returns a note if the output folder is among the photos and has photos of its own."""
    if not output.is_dir() or (output / RENDER_RECORD).exists():
        return []
    if not output.resolve().is_relative_to(folder.resolve()):
        return []
    count = len(list_photos(output).photos)
    photos = "1 photo" if count == 1 else f"{count} photos"
    return [f"{output}: {photos} in it not rendered, as the results go there"] if count else []


def check_case_collisions(jobs: Sequence[Job]) -> None:
    """Checks that no two results are the same file on a file system that ignores case.

    Raises:
        InputError: If two are.
    """
    named: dict[str, Job] = {}
    for job in jobs:
        earlier = named.setdefault(str(job.output).casefold(), job)
        if earlier != job and not _is_case_sensitive(job.output.parent):
            raise InputError(
                f"{job.photo}: {job.output.parent} ignores case, so its result would replace "
                f"that of {earlier.photo.name}; rename one of them"
            )


def result_name(photo: Path) -> str:
    """Returns the photo's name; with ".jpg" appended if its format cannot be written."""
    return photo.name if can_write(photo) else f"{photo.name}.jpg"


def check_job(job: Job) -> None:
    """Checks the path of a result before the photo is rendered.

    Raises:
        InputError: If the result would replace the photo or its depth map, its format cannot be
            written, or its folder does not exist.
    """
    if not can_write(job.output):
        raise InputError(f"{job.output}: its suffix is no image format; use .jpg or .png")
    if not job.output.parent.is_dir():
        raise InputError(
            f"{job.output}: folder {job.output.parent} does not exist; create it first"
        )
    for path in (job.output, comparison_path(job)):
        for source, kind in ((job.photo, "photo itself"), (job.depth, "photo's depth map")):
            if source and path.exists() and source.exists() and path.samefile(source):
                raise InputError(f"{path}: is the {kind}", remedy=_OTHER_OUTPUT)


def comparison_path(job: Job) -> Path:
    """Returns the path of the side-by-side picture of photo and result."""
    # The name keeps the suffix, so that a.jpg and a.png do not share a comparison.
    return job.output.with_name(job.output.name + COMPARISON_SUFFIX)


def _is_case_sensitive(folder: Path) -> bool:
    with tempfile.TemporaryDirectory(prefix=".case-", dir=folder) as name:
        path = Path(name)
        return not path.with_name(path.name.upper()).exists()


def _depth_of(photo: Path, photos: Path, depth: Path | None) -> Path | None:
    if depth is None or depth == EMBEDDED:
        return depth
    # A missing map is reported when its photo is rendered, so that the others are rendered too.
    return depth_map_in(depth, photo, photos)
