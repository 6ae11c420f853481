"""The full model's outputs on photos that a conversion has not seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from bokeh_convert.data.calibration_data import Sample, split_dataset
from bokeh_convert.sources import read_model
from bokeh_convert.train.pairs import find_pairs
from bokeh_convert.verify.verification import compute_reference
from bokeh_runtime.errors import InputError
from bokeh_runtime.tflite.reference_pack import Reference
from bokeh_runtime.tflite.value_range import UNIT_RANGES


def held_out_reference(
    path: Path,
    folder: Path,
    calibrated: Sequence[Sample],
    size: tuple[int, int],
    on_photo: Callable[[], None],
) -> Reference:
    """Runs the full model on held-out photos.

    Args:
        path: The trained model.
        folder: Photos, with depth maps for a model that takes them; or a data set of pairs
            (`bokeh_convert.train.pairs.find_pairs`), of which the held-out ones are used.
        calibrated: The photos of the calibration.
        size: Height and width of the input, in pixels.
        on_photo: Called after each photo.

    Raises:
        InputError: If a photo was used for calibration, cannot be read, or lacks its depth map.
    """
    sized = replace(read_model(path).at(*size), ranges=UNIT_RANGES)
    samples = sorted(
        _samples(folder, sized.model.channels), key=lambda sample: sample.photo.as_posix()
    )
    seen = {sample.sha256 for sample in calibrated}
    for sample in samples:
        if sample.sha256 in seen:
            raise InputError(f"{sample.photo}: was used for calibration, too; leave it out")
    return compute_reference(sized, samples, on_photo)


def _samples(folder: Path, channels: int) -> Iterator[Sample]:
    if not (folder / "pairs.tsv").is_file():
        found = split_dataset(folder, channels=channels, count=10_000, seed=0, part="test")
        yield from (*found.verification, *found.calibration)
        return
    try:
        pairs = find_pairs(folder, "heldout")
    except ValueError as error:
        raise InputError(str(error)) from error
    for pair in pairs:
        if channels == 4 and pair.depth is None:
            raise InputError(f"{pair.sharp}: has no depth map, which the model needs; add it")
        yield Sample(pair.sharp, pair.depth if channels == 4 else None)
