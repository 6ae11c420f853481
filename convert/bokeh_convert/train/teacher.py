"""The teacher of a distillation: any model that `bokeh-convert` reads, run as a black box.

It is run once on views of photos, in a process with TensorFlow, and its outputs are stored in a
folder. The training reads them from there, with any Keras backend.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bokeh_convert.data.calibration_data import (
    Sample,
    list_dataset,
    to_network_input,
    without_duplicates,
)
from bokeh_convert.graph.cost_model import convolutions
from bokeh_convert.graph.editor import Graph
from bokeh_convert.options import LEVELS
from bokeh_convert.pynet.network import SIZE_MULTIPLE
from bokeh_convert.sources.options import SourceOptions
from bokeh_convert.train.teacher_outputs import (
    CROPS,
    HELD_OUT,
    WHOLE,
    Teacher,
)
from bokeh_convert.train.teacher_store import (
    Arrays,
    Shapes,
    describe,
    open_arrays,
    save_weights,
    set_views_done,
    views_done,
)
from bokeh_convert.train.views import ViewConfig, sample_of, views
from bokeh_runtime.atomic_output import folder_lock
from bokeh_runtime.errors import Argument, InputError
from bokeh_runtime.imaging.photo import read_photo
from bokeh_runtime.tflite.value_range import UNIT_RANGES

_MOST_HELD_OUT = 12
_FLUSH = 16
_DEFAULT_SIZE = (256, 384)


@dataclass(frozen=True)
class TeacherConfig:
    """A teacher, and the views of which its outputs are needed.

    Attributes:
        path: The trained model.
        photos: Folder of photos, without ground truth; an eighth, at most 12, are held out.
        held_out: Folder of photos to hold out instead; None for none.
        size: (height, width) of the network input, in pixels, multiples of 32; None for the
            model's own, or 256 x 384 if it takes any.
        crop: Side of the square crops, in pixels.
        crops: Number of crops.
        whole: Number of views of the size of the network.
        seed: Random seed of the views.
        source: How to read the model.
        input_range, output_range: See `bokeh_convert.api.convert`.
        trains_itself: Whether the model itself is trained on, and not a PyNET as its student.
    """

    path: Path
    photos: Path
    held_out: Path | None
    size: tuple[int, int] | None
    crop: int
    crops: int
    whole: int
    seed: int
    source: SourceOptions = field(default_factory=SourceOptions)
    input_range: str | None = None
    output_range: str | None = None
    trains_itself: bool = False


def run_teacher(
    config: TeacherConfig,
    folder: Path,
    on_view: Callable[[int, int], None] = lambda done, total: None,
    on_note: Callable[[str], None] = lambda note: None,
) -> None:
    """Runs the teacher on all views, and stores its outputs; what is stored already is kept.

    Args:
        config: Teacher and views.
        folder: Output folder.
        on_view: Called with the numbers of views done and of all views.
        on_note: Called with a line for each photo that is left out.

    Raises:
        InputError: If the model or the photos cannot be used, the folder holds the outputs of
            another teacher or of other views or a damaged file, the disk has too little space, or
            an output has NaN or infinity.
    """
    from bokeh_convert.sources import read_model  # imports TensorFlow

    with folder_lock(folder, "teacher.lock"):
        model = read_model(config.path, config.source)
        if model.channels == 1:
            raise InputError(
                f"{config.path}: takes luminance alone, and a student takes RGB or RGB + depth; "
                "give a teacher for colour photos"
            )
        kept, held_out = _samples(config, model.channels, on_note)
        crops = config.crops
        config = _sized(config, model.height, model.width)
        if config.crops < crops:
            on_note(
                f"note: {config.path} takes one size only, so there are no crops; their steps are "
                "left out"
            )
        sets = _sets(config, len(held_out), model.channels, model.resampling)
        opened = {name: _heads(model, view, kept, config) for name, view in sets.items()}
        heads = tuple(level for level in LEVELS if level in opened[HELD_OUT])
        found = _teacher(model, heads, opened[HELD_OUT][heads[-1]])
        if config.trains_itself and not found.unit_range:
            raise InputError(
                f"{config.path}: was trained on another value range than 0..1, which cannot be "
                "trained on; distill it instead"
            )
        describe(folder, found, _digest(config, model.sha256, kept, held_out))
        save_weights(folder, model.keras_model)
        shapes = {name: _shapes(view, opened[name]) for name, view in sets.items()}
        arrays = open_arrays(folder, shapes)
        done, total = 0, sum(view.count for view in sets.values())
        for name, view in sets.items():
            samples = held_out if name == HELD_OUT else kept
            for _ in _run_set((folder, name, arrays[name]), view, samples, opened[name]):
                done += 1
                on_view(done, total)


def _samples(
    config: TeacherConfig, channels: int, on_note: Callable[[str], None]
) -> tuple[list[Sample], list[Sample]]:
    """Returns the photos to train on, and those to hold out, both without duplicates."""
    photos = _readable(config.photos, "train", channels, on_note)
    if config.held_out is not None:
        held_out = _readable(config.held_out, "test", channels, on_note)
        digests = {sample.sha256 for sample in held_out}
        kept = [sample for sample in photos if sample.sha256 not in digests]
    else:
        # By the hash of the file, so that a photo stays held out when others are added.
        by_hash = sorted(photos, key=lambda sample: sample.sha256)
        share = min(_MOST_HELD_OUT, max(1, len(photos) // 8))
        held_out, kept = by_hash[:share], by_hash[share:]
    if not kept or not held_out:
        raise InputError(f"{config.photos}: {len(photos)} photos; add photos, at least two")
    return sorted(kept, key=lambda s: s.sha256), held_out


def _readable(
    folder: Path, part: str, channels: int, on_note: Callable[[str], None]
) -> list[Sample]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; check the path")
    photos, notes, depths = list_dataset(folder, channels, part)
    for note in notes:
        on_note(f"note: {note}")
    found = []
    for photo in without_duplicates(photos):
        try:
            read_photo(photo)
        except InputError as error:
            on_note(f"skipped: {error}")
            continue
        found.append(Sample(photo, depths.get(photo)))
    return found


def _sized(config: TeacherConfig, height: int | None, width: int | None) -> TeacherConfig:
    """Returns the configuration with a size that model and student take."""
    if height is not None and width is not None:
        config = replace(config, size=config.size or (height, width), crops=0)
    rows, columns = config.size or _DEFAULT_SIZE
    if config.trains_itself:
        return replace(config, size=(rows, columns))
    if rows % SIZE_MULTIPLE or columns % SIZE_MULTIPLE:
        raise InputError(
            f"{config.path}: runs at {rows} x {columns} px, and the student is a PyNET, which "
            f"takes multiples of {SIZE_MULTIPLE} px",
            remedy=("give ", Argument("size")),
        )
    if config.crops and config.crop % SIZE_MULTIPLE:
        raise InputError(Argument("crop", config.crop), f": give a multiple of {SIZE_MULTIPLE}")
    return replace(config, size=(rows, columns))


def _sets(
    config: TeacherConfig, held_out: int, channels: int, resampling: str
) -> dict[str, ViewConfig]:
    size = config.size or _DEFAULT_SIZE
    sets = {
        CROPS: ViewConfig(
            config.crops, config.crop, config.crop, channels, resampling, config.seed
        ),
        WHOLE: ViewConfig(config.whole, *size, channels, resampling, config.seed + 1),
        HELD_OUT: ViewConfig(held_out, *size, channels, resampling, None),
    }
    return {name: view for name, view in sets.items() if view.count}


def _heads(
    model: Any, view: ViewConfig, samples: Sequence[Sample], config: TeacherConfig
) -> dict[str, Any]:
    """Returns the teacher at the size of a view, by PyNET's names of its outputs."""
    from bokeh_convert.stages.value_ranges import find_ranges

    sized, _ = find_ranges(
        model.at(view.height, view.width),
        samples,
        input_range=config.input_range,
        output_range=config.output_range,
    )
    rows = sized.concrete.outputs[0].shape[1]
    finest = next((level for level in LEVELS if _height(level, view.height) == rows), None)
    if finest is None:
        raise InputError(
            f"{config.path}: its output has {rows} rows for an input of {view.height}; give a "
            "model whose output is as large as its input, or twice that"
        )
    found = {finest: sized}
    for level in LEVELS[: LEVELS.index(finest)]:
        options = replace(model.options, level=level, output_name=None)
        try:
            coarser = replace(model, options=options).at(view.height, view.width)
        except InputError:  # it has no output of that size
            continue
        found[level] = replace(coarser, ranges=sized.ranges)
    return found


def _teacher(model: Any, heads: tuple[str, ...], finest: Any) -> Teacher:
    from bokeh_convert.graph.to_tflite import lower

    names = {layer.name: layer for layer in model.keras_model.layers} if model.keras_model else {}
    deepest = names.get("l5_d1_k3_1_conv")
    count, cost = convolutions(Graph(lower(finest)))
    return Teacher(
        model.path.name,
        model.channels,
        heads,
        model.resampling,
        None if deepest is None else deepest.filters / 512,
        finest.ranges == UNIT_RANGES,
        any(name.endswith("_change") for name in names),
        (finest.height, finest.width),
        count,
        cost,
    )


def _height(level: str, height: int) -> int:
    return height * 2 if level == "l_up" else height >> int(level[1:])


def _shapes(view: ViewConfig, heads: Mapping[str, Any]) -> Shapes:
    count = view.count
    outputs = {head: sized.concrete.outputs[0].shape[1:] for head, sized in heads.items()}
    return {
        "input": (np.uint8, (count, view.height, view.width, view.channels)),
        **{head: (np.float16, (count, *shape)) for head, shape in outputs.items()},
    }


def _run_set(
    store: tuple[Path, str, Arrays],
    view: ViewConfig,
    samples: Sequence[Sample],
    heads: Mapping[str, Any],
) -> Iterator[int]:
    """Runs the teacher on the views that are missing; yields once per view, also of stored ones.

    Args:
        store: The folder, and the name and the arrays of the set.
        view: How its views are cut.
        samples: The photos.
        heads: The teacher, by its outputs.
    """
    folder, name, files = store
    count, first = view.count, views_done(folder, name, view.count)
    yield from range(first)
    for number, pixels in enumerate(views(samples, view, first), first):
        files["input"][number] = pixels
        for head, sized in heads.items():
            output = sized.run(to_network_input(pixels))
            if not np.isfinite(output).all():  # before clipping, which makes infinity white
                raise InputError(
                    f"{sample_of(samples, view, number).photo}: the teacher's output has NaN or "
                    "infinity; take the photo out and start again in another folder, or give "
                    "another teacher"
                )
            files[head][number] = np.clip(output, 0, 1)
        if (number + 1) % _FLUSH == 0 or number + 1 == count:
            for file in files.values():
                file.flush()
            set_views_done(folder, name, number + 1)
        yield number


def _digest(
    config: TeacherConfig, model: str, kept: Sequence[Sample], held_out: Sequence[Sample]
) -> str:
    settings = {
        key: str(value)
        for key, value in asdict(config).items()
        if key not in ("path", "photos", "held_out")
    }
    photos = [[_hashes(sample) for sample in samples] for samples in (kept, held_out)]
    return hashlib.sha256(json.dumps([settings, model, photos]).encode()).hexdigest()


def _hashes(sample: Sample) -> tuple[str, str | None]:
    depth = sample.depth
    return sample.sha256, None if depth is None else hashlib.sha256(depth.read_bytes()).hexdigest()
