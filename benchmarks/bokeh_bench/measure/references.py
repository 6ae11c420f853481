"""Reference outputs to compare a model's outputs with: the full model's, and ground truth."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bokeh_convert.process_state import require_tensorflow_backend
from bokeh_convert.train.pairs import Pair, find_pairs, notes_on_skipped
from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.depth import open_depth_of_photo
from bokeh_runtime.imaging.depth_lookup import find_depth_map
from bokeh_runtime.imaging.folders import list_photos
from bokeh_runtime.imaging.luminance import luminance
from bokeh_runtime.imaging.photo import FloatImage, open_photo, read_photo, to_unit
from bokeh_runtime.imaging.resample import fit
from bokeh_runtime.tflite.metadata import ModelMetadata
from bokeh_runtime.tflite.reference_pack import (
    Reference,
    find_reference,
    find_reference_path,
    load_reference,
)
from bokeh_runtime.tflite.value_range import UNIT_RANGES, ImageRanges


@dataclass(frozen=True)
class ReferenceSample:
    """A network input and the output that the model should produce for it.

    Attributes:
        name: Name of the photo.
        network_input: uint8 [height, width, 1, 3 or 4]; 0 to 255 stand for 0 to 1.
        reference_output: float [output height, output width, 1 or 3] in [0, 1].
    """

    name: str
    network_input: npt.NDArray[np.uint8]
    reference_output: FloatImage


class FullModelReferences:
    """The full model's outputs, from a reference pack or by running the trained model.

    Args:
        pack: A reference pack for all models; None uses the one next to each model.
        source: The trained model, which is run (needs the extra `convert`); None uses a pack.
        photos: Folder of photos to run `source` on; None uses those that ship with the package.
        progress: Called with a description of each step.

    Raises:
        InputError: If the pack cannot be read.
    """

    def __init__(
        self,
        pack: Path | None,
        source: Path | None,
        photos: Path | None,
        progress: Callable[[str], None],
    ) -> None:
        self._pack = None if pack is None else load_reference(pack)
        self._pack_path, self._source, self._photos, self._progress = pack, source, photos, progress
        self._found: dict[
            tuple[tuple[int, ...], ImageRanges], tuple[Reference, str, list[str]]
        ] = {}

    def reference_for(
        self,
        path: Path,
        metadata: ModelMetadata | None,
        shape: tuple[int, ...],
        ranges: ImageRanges = UNIT_RANGES,
    ) -> tuple[Reference | None, list[str]]:
        """Returns inputs with the full model's outputs, and notes on them.

        Args:
            path: The .tflite file.
            metadata: The file's metadata; None if it has none.
            shape: Height, width and channels of the file's input.
            ranges: The file's value ranges, in which the trained model runs too.

        Returns:
            The reference, None if there is no pack next to the file; and notes for the report.

        Raises:
            InputError: If the pack or the source cannot be read, or does not fit the input shape.
        """
        notes: list[str] = []
        if self._source is not None:
            reference, sha256, notes = self._run_source(shape, ranges)
        else:
            found = self._pack or find_reference(path, metadata)
            if found is None:
                return None, [
                    "no fidelity: there is no reference pack next to the file; give "
                    "--reference NPZ or --source MODEL"
                ]
            reference, sha256 = found, found.source_sha256
            if self._pack is None and not _same_conversion(path, metadata):
                notes.append(
                    "the reference pack next to the file is not the one that its report names, so "
                    "its photos or outputs may differ; convert again, or give --reference NPZ"
                )
        if tuple(reference.inputs[0].shape) != shape:
            raise InputError(
                f"{self._pack_path or path}: the reference pack's photos are "
                f"{_size(reference.inputs[0].shape)}, the model takes {_size(shape)}; "
                "give the pack of its own conversion"
            )
        made_from = metadata.full_models if metadata else set()
        if sha256 and made_from and sha256 not in made_from:
            notes = [*notes, "converted from a different trained model than the reference"]
        return reference, notes

    def _run_source(
        self, shape: tuple[int, ...], ranges: ImageRanges
    ) -> tuple[Reference, str, list[str]]:
        if (shape, ranges) in self._found:
            return self._found[shape, ranges]
        assert self._source is not None
        self._progress(f"running {self._source.name}")
        try:
            require_tensorflow_backend()  # before TensorFlow, which imports Keras
            from bokeh_convert.data.calibration_data import skip_unreadable, split_dataset
            from bokeh_convert.sources import read_model
            from bokeh_convert.verify.verification import compute_reference
        except ImportError as error:
            raise InputError(
                f"{self._source}: running it needs TensorFlow; pip install "
                "'bokeh-tflite[convert]', or give the conversion's reference pack instead"
            ) from error
        height, width, channels = shape
        sized = replace(read_model(self._source).at(height, width), ranges=ranges)
        if sized.model.channels != channels:
            raise InputError(
                f"{self._source}: takes {sized.model.channels} channels, the .tflite {channels}; "
                "give the model that it was converted from"
            )
        photos = split_dataset(self._photos, channels=channels, count=10_000, seed=0, part="test")
        photos = skip_unreadable(photos, needs_calibration=self._photos is not None)
        notes = [*photos.notes, *(f"skipped: {cause}" for _, cause in photos.skipped)]
        samples = [*photos.verification, *(photos.calibration if self._photos else ())]
        reference = compute_reference(sized, samples, on_photo=lambda: None)
        self._found[shape, ranges] = reference, sized.model.sha256, notes
        return self._found[shape, ranges]


def _same_conversion(model: Path, metadata: ModelMetadata | None) -> bool:
    """Tests whether the pack next to a model is the one its report names; True without a report."""
    pack = find_reference_path(model, metadata)
    try:
        report = json.loads(model.with_suffix(".report.json").read_text(encoding="utf-8"))
        named = report["reference"]["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return True
    return pack is None or named == hashlib.sha256(pack.read_bytes()).hexdigest()


class GroundTruth:
    """Pairs of a sharp photo and a target: the same scene with real bokeh.

    Args:
        dataset: Folder in EBB!'s layout or with a `pairs.tsv` (see `bokeh_convert.train.pairs`). If
            `targets` is given, a folder of sharp photos; depth maps and other files in it are
            skipped (see `bokeh_runtime.imaging.folders.list_photos`).
        targets: Folder of the targets, with the same file names and subfolders.

    Attributes:
        path: The data set's folder.
        notes: Remarks for the report's reader.
        pairs: The pairs.

    Raises:
        InputError: If there is no pair.
    """

    def __init__(self, dataset: Path, targets: Path | None = None) -> None:
        self.path = dataset
        self.notes: list[str] = []
        if targets is None:
            try:
                self.pairs = find_pairs(dataset, "heldout")
                self.notes = notes_on_skipped(dataset, "heldout")
            except ValueError as error:
                raise InputError(str(error)) from error
        else:
            self.pairs, self.notes = _by_name(dataset, targets)

    def reference_samples(
        self, shape: tuple[int, ...], output_scale: float, resampling: str
    ) -> Iterator[ReferenceSample]:
        """Yields the pairs, scaled to cover the network's size and center-cropped.

        Args:
            shape: Height, width and channels of the network's input.
            output_scale: Output height divided by input height.
            resampling: Resampling method that the network was trained with.

        Raises:
            InputError: If a file is missing or cannot be read, or a depth map is needed and
                missing.
        """
        height, width, channels = shape
        for pair in self.pairs:
            sharp = read_photo(pair.sharp)
            photo = fit(to_unit(sharp.pixels), height, width, resampling)
            if channels == 4:
                if pair.depth is None:
                    raise InputError(
                        f"{pair.sharp}: has no depth map, which the model needs; add it to the "
                        "data set"
                    )
                depth = fit(open_depth_of_photo(pair.depth, sharp), height, width)
                photo = np.concatenate([photo, depth], axis=2)
            rows, columns = round(height * output_scale), round(width * output_scale)
            target = fit(open_photo(pair.bokeh), rows, columns, resampling)
            if channels == 1:
                photo, target = luminance(photo), luminance(target)
            yield ReferenceSample(pair.name, np.round(photo * 255).astype(np.uint8), target)


def _by_name(photos: Path, targets: Path) -> tuple[list[Pair], list[str]]:
    for folder in (photos, targets):
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; check the path")
    sharp, blurred = list_photos(photos, exclude=[targets]), list_photos(targets)
    named: dict[Path, Path] = {}
    for path in blurred.photos:
        earlier = named.setdefault(path.relative_to(targets).with_suffix(""), path)
        if earlier != path:
            raise InputError(f"{path}: is a target of the name of {earlier.name}; remove one")
    pairs = []
    for path in sharp.photos:
        name = path.relative_to(photos).with_suffix("")
        if name in named:
            pairs.append(Pair(name.as_posix(), path, named[name], find_depth_map(path), None))
    if not pairs:
        raise InputError(
            f"{targets}: no file has the name of a photo in {photos}; check both folders"
        )
    notes = [*sharp.notes, *blurred.notes]
    if len(pairs) < len(sharp.photos):
        missing = len(sharp.photos) - len(pairs)
        notes.append(f"{photos}: {missing} of {len(sharp.photos)} photos have no target")
    return pairs, notes


def _size(shape: tuple[int, ...]) -> str:
    height, width, channels = shape
    return f"{height} x {width} x {channels}"
