"""What a model's pictures are held against: the full model's, and the ground truth."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bokeh_convert.process_state import require_tensorflow_backend
from bokeh_convert.train.pairs import Pair, find_pairs
from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.depth import open_depth
from bokeh_runtime.imaging.folders import list_photos
from bokeh_runtime.imaging.photo import FloatImage, open_photo
from bokeh_runtime.imaging.resample import fit
from bokeh_runtime.tflite.metadata import ModelMetadata
from bokeh_runtime.tflite.reference_pack import (
    Reference,
    find_reference,
    find_reference_path,
    load_reference,
)


@dataclass(frozen=True)
class Expectation:
    """A photo as the network sees it, and the picture that is wanted.

    Attributes:
        name: Of the photo.
        pixels: uint8 [height, width, 3 or 4], standing for 0 to 1.
        wanted: float [output height, output width, 3] in [0, 1].
    """

    name: str
    pixels: npt.NDArray[np.uint8]
    wanted: FloatImage


class FullModel:
    """Where the full model's pictures come from.

    Args:
        pack: A reference pack for all models; None takes the one beside each.
        source: The trained model: it is run (needs the extra `convert`). None takes a pack.
        photos: Folder of photos for `source`; None takes those that ship with the package.
        say: Told what is being done.
    """

    def __init__(
        self,
        pack: Path | None,
        source: Path | None,
        photos: Path | None,
        say: Callable[[str], None],
    ) -> None:
        self._pack = None if pack is None else load_reference(pack)
        self._pack_path, self._source, self._photos, self._say = pack, source, photos, say
        self._drawn: dict[tuple[int, ...], tuple[Reference, str, list[str]]] = {}

    def reference_for(
        self, path: Path, metadata: ModelMetadata | None, shape: tuple[int, ...]
    ) -> tuple[Reference | None, list[str]]:
        """Returns what the full model draws for a model's input, and what to know about it.

        Args:
            path: The .tflite file.
            metadata: Of the file.
            shape: Height, width and channels of its input.

        Raises:
            InputError: If a pack or the source cannot be read, or the pack is of another size.
        """
        notes: list[str] = []
        if self._source is not None:
            reference, sha256, notes = self._live(shape)
        else:
            found = self._pack or find_reference(path, metadata)
            if found is None:
                return None, [
                    "no reference pack beside it: nothing to compare with; give --reference NPZ or "
                    "--source MODEL"
                ]
            reference, sha256 = found, found.source_sha256
            if self._pack is None and not _same_conversion(path, metadata):
                notes.append(
                    "the reference pack beside it is not the one that its report names, so photos "
                    "or output may be others; convert again, or give --reference NPZ"
                )
        if tuple(reference.inputs[0].shape) != shape:
            raise InputError(
                f"{self._pack_path or path}: the reference pack's photos are "
                f"{_size(reference.inputs[0].shape)}, the model takes {_size(shape)}; "
                "give the pack of its own conversion"
            )
        made_from = metadata.source.get("sha256", "") if metadata else ""
        if sha256 and made_from and sha256 != made_from:
            notes = [*notes, "converted from another trained model than it is held against"]
        return reference, notes

    def _live(self, shape: tuple[int, ...]) -> tuple[Reference, str, list[str]]:
        if shape in self._drawn:
            return self._drawn[shape]
        assert self._source is not None
        self._say(f"drawing with {self._source.name}")
        try:
            require_tensorflow_backend()  # first, since TensorFlow imports it
            from bokeh_convert.data.calibration_data import skip_unreadable, split_dataset
            from bokeh_convert.sources import read_model
            from bokeh_convert.verify.verification import compute_reference
        except ImportError as error:
            raise InputError(
                f"{self._source}: needs TensorFlow to be run; pip install 'bokeh-tflite[convert]', "
                "or give the conversion's reference pack instead"
            ) from error
        height, width, channels = shape
        sized = read_model(self._source).at(height, width)
        if sized.model.channels != channels:
            raise InputError(
                f"{self._source}: takes {sized.model.channels} channels, the .tflite {channels}; "
                "give the model that it was converted from"
            )
        drawn = split_dataset(self._photos, channels=channels, count=10_000, seed=0)
        drawn = skip_unreadable(drawn, needs_calibration=self._photos is not None)
        notes = [*drawn.notes, *(f"passed over: {cause}" for _, cause in drawn.skipped)]
        samples = [*drawn.verification, *(drawn.calibration if self._photos else ())]
        reference = compute_reference(sized, samples, on_photo=lambda: None)
        self._drawn[shape] = reference, sized.model.sha256, notes
        return self._drawn[shape]


def _same_conversion(model: Path, metadata: ModelMetadata | None) -> bool:
    """Says whether the pack beside a model is the one its report names; True without a report."""
    pack = find_reference_path(model, metadata)
    try:
        report = json.loads(model.with_suffix(".report.json").read_text(encoding="utf-8"))
        named = report["reference"]["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return True
    return pack is None or named == hashlib.sha256(pack.read_bytes()).hexdigest()


class GroundTruth:
    """Pairs of photos: sharp, and as a large lens sees it.

    Args:
        dataset: In EBB!'s layout, or with a `pairs.tsv` (see `bokeh_convert.train.pairs`), or a
            folder of sharp photos if `targets` is given, in which depth maps and masks are passed
            over (see `bokeh_runtime.imaging.folders.list_photos`).
        targets: Folder of the targets, of the same names.

    Attributes:
        notes: What a reader must know.

    Raises:
        InputError: If there is no pair.
    """

    def __init__(self, dataset: Path, targets: Path | None = None) -> None:
        self.path = dataset
        self.notes: list[str] = []
        if targets is None:
            try:
                self.pairs = find_pairs(dataset, "heldout")
            except ValueError as error:
                raise InputError(str(error)) from error
        else:
            self.pairs, self.notes = _by_name(dataset, targets)

    def expectations(
        self, shape: tuple[int, ...], output_scale: float, resampling: str
    ) -> Iterator[Expectation]:
        """Yields the pairs, scaled to cover the network's size, their middle cut out.

        Args:
            shape: Height, width and channels of the network's input.
            output_scale: Height of the output over the input's.
            resampling: As the network was trained.

        Raises:
            InputError: If a file is missing or cannot be read.
        """
        height, width, channels = shape
        for pair in self.pairs:
            seen = fit(open_photo(pair.sharp), height, width, resampling)
            if channels == 4:
                if pair.depth is None:
                    raise InputError(f"{pair.sharp}: has no depth map, and the model takes one")
                seen = np.concatenate([seen, fit(open_depth(pair.depth), height, width)], axis=2)
            rows, columns = round(height * output_scale), round(width * output_scale)
            wanted = fit(open_photo(pair.bokeh), rows, columns, resampling)
            yield Expectation(pair.name, np.round(seen * 255).astype(np.uint8), wanted)


def _by_name(photos: Path, targets: Path) -> tuple[list[Pair], list[str]]:
    for folder in (photos, targets):
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; check the path")
    sharp, blurred = list_photos(photos), list_photos(targets)
    named = {path.stem: path for path in blurred.photos}
    pairs = [
        Pair(path.stem, path, named[path.stem], None, None)
        for path in sharp.photos
        if path.stem in named
    ]
    if not pairs:
        raise InputError(f"{targets}: no file there has the name of a photo of {photos}")
    return pairs, [*sharp.notes, *blurred.notes]


def _size(shape: tuple[int, ...]) -> str:
    height, width, channels = shape
    return f"{height} x {width} x {channels}"
