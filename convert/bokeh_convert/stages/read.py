"""Reads the trained model and the photos, and runs the model on the verification photos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bokeh_convert.data.calibration_data import DatasetSplit, skip_unreadable, split_dataset
from bokeh_convert.demo import DEMO_SIZE, demo_model
from bokeh_convert.options import ConvertOptions
from bokeh_convert.progress import Steps
from bokeh_convert.quantize.schemes import SCHEMES
from bokeh_convert.result import FileNames
from bokeh_convert.sources import SourceOptions, read_model
from bokeh_convert.sources.float_model import FloatModel, SizedModel
from bokeh_convert.stages.value_ranges import find_ranges
from bokeh_convert.verify.verification import compute_reference
from bokeh_runtime.atomic_output import refuse_folder
from bokeh_runtime.errors import Argument, InputError
from bokeh_runtime.tflite.reference_pack import Reference


@dataclass(frozen=True)
class Source:
    """The inputs of a conversion, shared by all its files.

    Attributes:
        sized: The trained model at its input size.
        dataset: The calibration and verification photos.
        reference: The network inputs of the verification photos, and the full model's outputs.
        names: Names of the files to write.
        notes: What the user should know of the model and the photos, a line each.
    """

    sized: SizedModel
    dataset: DatasetSplit
    reference: Reference
    names: FileNames
    notes: Sequence[str]


def read_source(options: ConvertOptions, steps: Steps) -> Source:
    """Reads the model and the photos, and runs the model on the verification photos.

    Raises:
        InputError: If the model or the photos cannot be used, or an output path is a folder.
    """
    steps.begin(f"reading {options.source.name}")
    with steps.timed("read_s"):
        model = read_model(options.source, _source_options(options))
    names = FileNames(model.name)
    _refuse_folders(options, names)
    dataset = split_dataset(
        options.representative_dataset,
        channels=model.channels,
        count=options.samples,
        seed=options.seed,
    )
    schemes = [SCHEMES[name] for name in options.schemes]
    calibrates = any(scheme.needs_calibration for scheme in schemes)
    steps.begin("reading the photos")
    dataset = skip_unreadable(dataset, needs_calibration=calibrates)
    verified = len(dataset.verification)
    emulated = min(options.npu.photos, verified)
    for_npus = len(options.npu.targets) * (1 + emulated)
    steps.total = 2 + calibrates + verified + len(options.schemes) * (1 + verified + for_npus)
    sized, found = find_ranges(
        model.at(*_input_size(model, options)),
        [*dataset.verification, *dataset.calibration],
        input_range=options.input_range,
        output_range=options.output_range,
    )
    steps.next(f"running {options.source.name}")
    with steps.timed("reference_s"):
        reference = compute_reference(sized, dataset.verification, steps.next)
    notes = [*found.reasons, *([f"the output is {found.fault}"] if found.fault else ())]
    return Source(sized, dataset, reference, names, (*notes, *dataset.notes))


def _source_options(options: ConvertOptions) -> SourceOptions:
    return SourceOptions(
        level=options.level,
        output_name=options.output_name,
        width=options.width,
        input_channels=options.input_channels,
        residual=options.residual,
        trust_source=options.trust_source,
        custom_objects=options.custom_objects,
        resampling=options.resampling,
    )


def _refuse_folders(options: ConvertOptions, names: FileNames) -> None:
    """Checks the output paths now, rather than after minutes of work."""
    for scheme in options.schemes:
        refuse_folder(options.output_dir / names.tflite(scheme))
        refuse_folder(options.output_dir / names.report(scheme))
        for npu in options.npu.targets:
            refuse_folder(options.output_dir / names.npu(scheme, npu.file_part))
    for name in (names.reference, names.comparison):
        refuse_folder(options.output_dir / name)


def _input_size(model: FloatModel, options: ConvertOptions) -> tuple[int, int]:
    if options.size is not None:
        return options.size
    if model.height is not None and model.width is not None:
        return model.height, model.width
    if model.path.resolve() == demo_model().resolve():
        return DEMO_SIZE
    raise InputError(
        f"{model.path}: the model does not fix its input size",
        remedy=("give ", Argument("size")),
    )
