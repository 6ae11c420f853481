"""The representative dataset: its split into calibration and verification photos, and reading."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bokeh_runtime.errors import Argument, InputError
from bokeh_runtime.imaging.depth import DepthMap, read_depth_of_photo, stretch_to_photo
from bokeh_runtime.imaging.depth_lookup import find_depth_map
from bokeh_runtime.imaging.embedded_depth import find_embedded_depth, read_embedded_depth
from bokeh_runtime.imaging.folder_walk import is_paired_layout
from bokeh_runtime.imaging.folders import PhotoListing, list_photos
from bokeh_runtime.imaging.luminance import luminance
from bokeh_runtime.imaging.photo import PHOTO_SUFFIXES, FloatImage, Photo, read_photo, to_unit
from bokeh_runtime.imaging.resample import fit

BUNDLED = Path(__file__).parents[1] / "photos"
"""Folder of the photos that ship with the package."""
MAX_VERIFICATION_PHOTOS = 8


@dataclass(frozen=True)
class Sample:
    """A photo on disk and its depth map.

    Attributes:
        photo: Path of the photo.
        depth: Path of the depth map, which is the photo's if that has it embedded. None for an RGB
            model and for the bundled photos.
    """

    photo: Path
    depth: Path | None

    @property
    def name(self) -> str:
        """File name of the photo, without the suffix."""
        return self.photo.stem

    @property
    def sha256(self) -> str:
        """SHA-256 of the photo file, in hex."""
        try:
            return hashlib.sha256(self.photo.read_bytes()).hexdigest()
        except OSError as error:
            raise InputError(f"{self.photo}: cannot be read ({error.strerror})") from error


@dataclass(frozen=True)
class DatasetSplit:
    """The photos of one conversion. No photo is in both lists, even under different names.

    Attributes:
        origin: The folder, or "bundled photos".
        depth: "none" for RGB models, "files", or "ramp": a synthetic depth map for photos without
            one, far at the top and near at the bottom.
        calibration: Photos for calibration and the mixed-precision search.
        verification: Photos for the comparison with the full model.
        skipped: Unreadable photos and the cause; they are in neither list.
        notes: Remarks on the photos, one line each.
    """

    origin: str
    depth: str
    calibration: Sequence[Sample]
    verification: Sequence[Sample]
    skipped: Sequence[tuple[Path, str]] = ()
    notes: Sequence[str] = ()


def split_dataset(
    folder: Path | None, *, channels: int, count: int, seed: int, part: str = "train"
) -> DatasetSplit:
    """Splits a folder of photos at random into calibration and verification photos.

    A fifth of the photos, at least one and at most 8, are for verification.

    Args:
        folder: Photos, also in subfolders; see `bokeh_runtime.imaging.folders.list_photos`. Each
            has a depth map if `channels` is 4: a file, see
            `bokeh_runtime.imaging.depth_lookup.find_depth_map`, or embedded in the photo. Of a data
            set in the layout of EBB!, only `part` is used. None for the photos that ship with the
            package, whose split is fixed.
        channels: Channels of the network input, 3 (RGB) or 4 (RGB + depth).
        count: Maximum number of calibration photos.
        seed: Random seed of the split.
        part: Part of a data set in the layout of EBB!, "train" or "test".

    Raises:
        InputError: If the folder is missing, has fewer than two different photos, or a depth map
            is missing.
    """
    if count < 1:
        raise InputError(Argument("samples", count), ": calibration needs at least one photo")
    if folder is None:
        return _bundled_photos(channels, count)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; check the path")
    photos, notes, depths = list_dataset(folder, channels, part)
    random.Random(seed).shuffle(photos)
    verified = min(MAX_VERIFICATION_PHOTOS, max(1, len(photos) // 5))
    # Copies of a photo under other names are left out: they could end up in both lists.
    different = itertools.islice(without_duplicates(photos), verified + count)
    chosen = [Sample(photo, depths.get(photo)) for photo in different]
    if len(chosen) < 2:
        raise InputError(
            f"{folder}: {len(chosen)} different photos ({', '.join(PHOTO_SUFFIXES)}); add photos, "
            f"at least two are needed, for calibration and verification{_in_parentheses(notes)}"
        )
    if channels == 4 and (missing := [one.photo for one in chosen if one.depth is None]):
        raise InputError(
            f"{missing[0]}: the model takes RGB + depth, and there is no depth map "
            f"{missing[0].stem}.png in the same folder or in {missing[0].parent.name}_depth; add "
            "the depth map or remove the photo"
        )
    verified = min(verified, len(chosen) - 1)
    depth = "files" if channels == 4 else "none"
    return DatasetSplit(str(folder), depth, chosen[verified:], chosen[:verified], notes=notes)


def skip_unreadable(dataset: DatasetSplit, *, needs_calibration: bool) -> DatasetSplit:
    """Removes unreadable photos from a split, so that one bad file does not stop a conversion.

    Args:
        dataset: The split.
        needs_calibration: Whether the calibration photos will be used; if not, they are not read.

    Raises:
        InputError: If no photo remains for calibration, or none for verification.
    """
    causes: dict[Path, str] = {}
    notes: list[str] = []

    def is_readable(sample: Sample) -> bool:
        try:
            notes.extend(_reading_notes(sample))
        except InputError as error:
            causes[sample.photo] = str(error)
        return sample.photo not in causes

    calibration, verification = list(dataset.calibration), list(dataset.verification)
    verification = list(filter(is_readable, verification))
    if needs_calibration or not verification:
        calibration = list(filter(is_readable, calibration))
    if not verification and len(calibration) > 1:
        verification = [calibration.pop()]
    elif not calibration and len(verification) > 1:
        calibration = [verification.pop()]
    if not calibration or not verification:
        raise InputError(
            f"{dataset.origin}: too few readable photos, at least one is needed for calibration "
            f"and one for verification; {next(iter(causes.values()))}"
        )
    return replace(
        dataset,
        calibration=calibration,
        verification=verification,
        skipped=list(causes.items()),
        notes=[*dataset.notes, *notes],
    )


def read_sample(
    sample: Sample, height: int, width: int, channels: int, resampling: str = "area"
) -> npt.NDArray[np.uint8]:
    """Reads a photo, resized to the network input.

    The result is 8-bit, so that the reference pack stores exactly what the network was given.

    Args:
        sample: The photo.
        height: Height of the network input, in pixels.
        width: Width of the network input, in pixels.
        channels: Channels of the network input, 1 (luminance), 3 (RGB) or 4 (RGB + depth).
        resampling: One of `bokeh_runtime.imaging.resample.RESAMPLING`.

    Returns:
        uint8 [height, width, channels].

    Raises:
        InputError: If the photo or its depth map cannot be read.
    """
    photo = read_photo(sample.photo)
    image = fit(to_unit(photo.pixels), height, width, resampling)
    if channels == 1:
        image = luminance(image)
    elif channels == 4:
        image = np.concatenate([image, read_depth_plane(sample, photo, height, width)], axis=-1)
    return np.round(image * 255).astype(np.uint8)


def to_network_input(pixels: npt.NDArray[np.uint8]) -> FloatImage:
    """Scales 8-bit pixels to float in [0, 1], same shape."""
    return (pixels / np.float32(255)).astype(np.float32)


def read_depth_plane(sample: Sample, photo: Photo, height: int, width: int) -> FloatImage:
    """Returns the depth of a photo, resized as the photo is; far at the top if it has none.

    Args:
        sample: The paths of both.
        photo: The photo, as read.
        height: Height of the result, in pixels.
        width: Width of the result, in pixels.

    Returns:
        float [height, width, 1] in [0, 1]; near is bright.

    Raises:
        InputError: If the depth map cannot be read.
    """
    if sample.depth is not None:
        depth = _read_depth(sample.photo, sample.depth, photo)
        return fit(stretch_to_photo(depth, photo), height, width)
    return _ramp(height, width)


def synthetic_depth(height: int, width: int, rng: np.random.Generator) -> FloatImage:
    """Returns the depth of a scene that does not exist: a ground, and an object before it.

    Args:
        height: Height of the result, in pixels.
        width: Width of the result, in pixels.
        rng: Where the object is, and how near.

    Returns:
        float [height, width, 1] in [0, 1]; near is bright.
    """
    depth = _ramp(height, width) * np.float32(rng.uniform(0.2, 1.0))
    centre, radii = rng.uniform(0.2, 0.8, size=2), rng.uniform(0.1, 0.4, size=2)
    y, x = np.ogrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    inside = ((y - centre[0]) / radii[0]) ** 2 + ((x - centre[1]) / radii[1]) ** 2 < 1
    return np.where(inside[..., None], np.float32(rng.uniform(0.5, 1.0)), depth)


def _ramp(height: int, width: int) -> FloatImage:
    rows = np.linspace(0.1, 0.9, height, dtype=np.float32)
    return np.broadcast_to(rows[:, None, None], (height, width, 1))


def _bundled_photos(channels: int, count: int) -> DatasetSplit:
    calibration, verification = (
        [Sample(photo, None) for photo in list_photos(BUNDLED / part).photos]
        for part in ("calibration", "verification")
    )
    depth = "ramp" if channels == 4 else "none"
    return DatasetSplit("bundled photos", depth, calibration[:count], verification)


def without_duplicates(photos: Sequence[Path]) -> Iterator[Path]:
    """Yields the photos whose file content differs from that of all photos before."""
    digests: set[str] = set()
    for photo in photos:
        digest = Sample(photo, None).sha256
        if digest not in digests:
            digests.add(digest)
            yield photo


def _in_parentheses(notes: Sequence[str]) -> str:
    return f" ({'; '.join(notes)})" if notes else ""


def _reading_notes(sample: Sample) -> list[str]:
    """Returns the notes on a photo and its depth map, or raises if one of them is unreadable."""
    photo = read_photo(sample.photo)
    notes = [f"{sample.photo}: {note}" for note in photo.notes]
    if sample.depth is not None:
        depth = _read_depth(sample.photo, sample.depth, photo)
        notes += [f"{sample.depth}: {note}" for note in depth.notes]
    return notes


def _read_depth(path: Path, depth: Path, photo: Photo) -> DepthMap:
    if depth == path:
        return read_embedded_depth(path, photo)
    return read_depth_of_photo(depth, photo)


def _depth_of(photo: Path) -> Path | None:
    depth = find_depth_map(photo)
    beside = photo.with_suffix(".png")
    if depth is None and beside != photo and beside.is_file():
        return beside  # with colours: reading it says so, and the photo is skipped
    return photo if depth is None and find_embedded_depth(photo) else depth


def list_dataset(
    folder: Path, channels: int, part: str
) -> tuple[list[Path], list[str], dict[Path, Path]]:
    """Lists the photos of a data set.

    Args:
        folder: See `split_dataset`.
        channels: Channels of the network input.
        part: See `split_dataset`.

    Returns:
        The photos, notes on what was left out, and the depth map of each photo that has one if
        `channels` is 4.
    """
    listed, notes = folder, []
    if is_paired_layout(folder / part):
        listed = folder / part
        other = "test" if part == "train" else "train"
        if (folder / other).is_dir():
            notes.append(
                f"{folder}: only the photos in {part}/ are used, those in {other}/ are not"
            )
    found = list_photos(listed)
    photos, depths = list(found.photos), {}
    if channels == 4:
        # Even a PNG with colours beside a photo is no photo, since depth maps are often PNGs.
        named = {photo.with_suffix("") for photo in photos if photo.suffix.lower() != ".png"}
        photos = [p for p in photos if p.suffix.lower() != ".png" or p.with_suffix("") not in named]
        depths = {photo: depth for photo in photos if (depth := _depth_of(photo)) is not None}
        used = set(depths.values())
        unused = [path for path in found.skipped_maps if path not in used]
        skipped = {kind: n for kind, n in found.skipped.items() if kind != "depth map"}
        found = PhotoListing(listed, photos, unused, skipped)
    return photos, [*notes, *found.notes], depths
