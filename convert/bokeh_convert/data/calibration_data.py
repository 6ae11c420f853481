"""The representative dataset: which photos calibrate, which verify, and how they are fed."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.depth import open_depth
from bokeh_runtime.imaging.folders import PhotoListing, list_photos
from bokeh_runtime.imaging.photo import PHOTO_SUFFIXES, FloatImage, open_photo, read_photo
from bokeh_runtime.imaging.resample import fit

BUNDLED = Path(__file__).parents[1] / "photos"
MOST_VERIFICATION = 8


@dataclass(frozen=True)
class Sample:
    """A photo on disk, with its depth map where the model takes one and there is one."""

    photo: Path
    depth: Path | None

    @property
    def name(self) -> str:
        return self.photo.stem

    @property
    def sha256(self) -> str:
        """Of the photo's file."""
        try:
            return hashlib.sha256(self.photo.read_bytes()).hexdigest()
        except OSError as error:
            raise InputError(f"{self.photo}: cannot be read ({error.strerror})") from error


@dataclass(frozen=True)
class SampleSet:
    """Photos drawn for one conversion; no photo is in both lists, under another name neither.

    Attributes:
        origin: Where they come from, for the report.
        depth: "none", "files", or "ramp" (no depth maps there: far above, near below).
        calibration: What the ranges of the activations are measured on.
        verification: What the result is judged on.
        passed_over: Photos that cannot be read, and why; they are in neither list.
        notes: What the user should know of the folder and its photos, in a line each.
    """

    origin: str
    depth: str
    calibration: Sequence[Sample]
    verification: Sequence[Sample]
    passed_over: Sequence[tuple[Path, str]] = ()
    notes: Sequence[str] = ()


def draw_samples(folder: Path | None, *, channels: int, count: int, seed: int) -> SampleSet:
    """Chooses the photos of a conversion.

    Args:
        folder: Photos, with a depth PNG of the same name beside each one if `channels` is 4;
            None takes the photos that ship with the package. Depth maps and masks are told from
            photos by `bokeh_runtime.imaging.folders.list_photos`.
        channels: Of the model's input, 3 or 4.
        count: The most photos that calibrate.
        seed: Of the choice.

    Raises:
        InputError: If the folder is missing, holds fewer than two different photos, or lacks a
            depth map.
    """
    if count < 1:
        raise InputError(f"--samples {count}: at least one photo must calibrate")
    if folder is None:
        calibration, verification = (
            [Sample(photo, None) for photo in list_photos(BUNDLED / part).photos]
            for part in ("calibration", "verification")
        )
        depth = "none" if channels == 3 else "ramp"
        return SampleSet("bundled photos", depth, calibration[:count], verification)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; check --representative-dataset")
    found = list_photos(folder)
    photos, notes = list(found.photos), found.notes
    if channels == 4:
        # Depth maps are PNGs; a PNG beside a photo of the same name and another suffix is one.
        named = {photo.stem for photo in photos if photo.suffix.lower() != ".png"}
        photos = [p for p in photos if p.suffix.lower() != ".png" or p.stem not in named]
        passed_over = [path for path in found.skipped_maps if path.stem not in named]
        notes = PhotoListing(folder, photos, passed_over).notes
    random.Random(seed).shuffle(photos)
    held = min(MOST_VERIFICATION, max(1, len(photos) // 5))
    # A copy of a photo is that photo: the content tells them apart, not the name.
    different = itertools.islice(_different(photos), held + count)
    chosen = [Sample(photo, _depth_of(photo, channels)) for photo in different]
    if len(chosen) < 2:
        raise InputError(
            f"{folder}: {len(chosen)} different photos ({', '.join(PHOTO_SUFFIXES)}); "
            f"put at least two there: one calibrates, another verifies{_told(notes)}"
        )
    held = min(held, len(chosen) - 1)
    depth = "none" if channels == 3 else "files"
    return SampleSet(str(folder), depth, chosen[held:], chosen[:held], notes=notes)


def pass_over_unreadable(drawn: SampleSet, *, calibrates: bool) -> SampleSet:
    """Leaves out the photos that cannot be read, so that one does not stop a conversion.

    Args:
        drawn: The photos of a conversion.
        calibrates: Whether those that calibrate are needed; they are not read otherwise.

    Raises:
        InputError: If none is left to calibrate, or none to verify.
    """
    causes: dict[Path, str] = {}
    notes: list[str] = []

    def is_readable(sample: Sample) -> bool:
        try:
            notes.extend(f"{sample.photo}: {note}" for note in read_photo(sample.photo).notes)
            if sample.depth is not None:
                open_depth(sample.depth)
        except InputError as error:
            causes[sample.photo] = str(error)
        return sample.photo not in causes

    calibration, verification = list(drawn.calibration), list(drawn.verification)
    verification = list(filter(is_readable, verification))
    if calibrates or not verification:
        calibration = list(filter(is_readable, calibration))
    if not verification and len(calibration) > 1:
        verification = [calibration.pop()]
    elif not calibration and len(verification) > 1:
        calibration = [verification.pop()]
    if not calibration or not verification:
        raise InputError(
            f"{drawn.origin}: too few photos can be read, and at least one must calibrate and "
            f"another verify; {next(iter(causes.values()))}"
        )
    return replace(
        drawn,
        calibration=calibration,
        verification=verification,
        passed_over=list(causes.items()),
        notes=[*drawn.notes, *notes],
    )


def read_sample(
    sample: Sample, height: int, width: int, channels: int, resampling: str = "area"
) -> npt.NDArray[np.uint8]:
    """Reads a sample as the network's input in 8 bits, [height, width, channels].

    Eight bits, so that the reference pack holds exactly what was fed.
    """
    image = fit(open_photo(sample.photo), height, width, resampling)
    if channels == 4:
        image = np.concatenate([image, _depth_plane(sample, height, width)], axis=-1)
    return np.round(image * 255).astype(np.uint8)


def to_input(pixels: npt.NDArray[np.uint8]) -> FloatImage:
    """Scales 8-bit pixels to [0, 1]."""
    return (pixels / np.float32(255)).astype(np.float32)


def _depth_plane(sample: Sample, height: int, width: int) -> FloatImage:
    if sample.depth is not None:
        return fit(open_depth(sample.depth), height, width)
    rows = np.linspace(0.1, 0.9, height, dtype=np.float32)
    return np.broadcast_to(rows[:, None, None], (height, width, 1))


def _different(photos: Sequence[Path]) -> Iterator[Path]:
    seen: set[str] = set()
    for photo in photos:
        digest = Sample(photo, None).sha256
        if digest not in seen:
            seen.add(digest)
            yield photo


def _told(notes: Sequence[str]) -> str:
    return f" ({'; '.join(notes)})" if notes else ""


def _depth_of(photo: Path, channels: int) -> Path | None:
    if channels == 3:
        return None
    depth = photo.with_suffix(".png")
    if depth == photo or not depth.is_file():
        raise InputError(
            f"{photo}: no depth map {depth.name} beside it, and the model takes RGB + depth; "
            "add one or remove the photo"
        )
    return depth
