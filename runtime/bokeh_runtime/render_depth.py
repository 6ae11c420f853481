"""Finds depth maps for a model that needs them, when the user has given none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bokeh_runtime.errors import Argument, InputError
from bokeh_runtime.imaging.depth_lookup import find_depth_map
from bokeh_runtime.imaging.embedded_depth import find_embedded_depth
from bokeh_runtime.model import BokehModel
from bokeh_runtime.render_jobs import EMBEDDED, Job, check_job

_SEARCHED_PHOTOS = 20
"""Number of photos of a folder that are searched for an embedded depth map."""


def find_depth_maps(jobs: Sequence[Job], model: BokehModel) -> tuple[list[Job], list[str]]:
    """Adds to each job the depth map that is named after its photo; see `find_depth_map`.

    A job without one stays as it is, and fails when it is rendered.

    Returns:
        The jobs, and notes for the user.

    Raises:
        InputError: If no photo has a depth map; it says if one is stored in a photo. If a result
            would replace a depth map.
    """
    found = [replace(job, depth=find_depth_map(job.photo)) for job in jobs]
    for job in found:
        check_job(job)
    depths = [job.depth for job in found if job.depth is not None]
    if depths:
        others = f" and {len(depths) - 1} more" if len(depths) > 1 else ""
        missing = len(jobs) - len(depths)
        without = f"; {missing} of {len(jobs)} photos have none" if missing else ""
        return found, [f"depth from {depths[0]}{others}, found by name{without}"]
    for job in jobs[:_SEARCHED_PHOTOS]:
        if kind := find_embedded_depth(job.photo):
            raise InputError(
                f"{model.path}: needs a depth map, and {job.photo} has one embedded ({kind})",
                remedy=("give ", Argument("depth", str(EMBEDDED)), " to use it"),
            )
    raise InputError(
        f"{model.path}: needs a depth map",
        remedy=("give ", Argument("depth"), " or ", Argument("depth_model")),
    )
