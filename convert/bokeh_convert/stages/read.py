"""Reads the trained model and the photos, and runs the model on the verification photos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bokeh_convert.data.calibration_data import DatasetSplit, skip_unreadable, split_dataset
from bokeh_convert.demo import DEMO_SIZE, is_demo_model
from bokeh_convert.options import ConvertOptions
from bokeh_convert.progress import Steps
from bokeh_convert.quantize.schemes import SCHEMES
from bokeh_convert.result import FileNames
from bokeh_convert.sources import SourceOptions, read_model
from bokeh_convert.sources.float_model import FloatModel, SizedModel
from bokeh_convert.sources.tracing import fixed_size
from bokeh_convert.stages.value_ranges import find_ranges
from bokeh_convert.verify.verification import compute_reference
from bokeh_runtime.atomic_output import refuse_folder
from bokeh_runtime.errors import InputError
from bokeh_runtime.tflite.reference_pack import Reference


@dataclass(frozen=True)
class Source:
    """The inputs of a conversion, shared by all its files.

    Attributes:
        sized: The trained model at its input size.
        dataset: The calibration and verification photos.
        reference: The network inputs of the verification photos, and the outputs that the files
            are compared with: the trained model's, or those of its teacher.
        teacher: The model that computed them, if it is not the trained model.
        own_reference: The outputs of the trained model, if it has a teacher.
        names: Names of the files to write.
        notes: What the user should know of the model and the photos, a line each.
    """

    sized: SizedModel
    dataset: DatasetSplit
    reference: Reference
    names: FileNames
    notes: Sequence[str]
    teacher: SizedModel | None = None
    own_reference: Reference | None = None

    @property
    def model_reference(self) -> Reference:
        """The outputs of the trained model itself, whether it has a teacher or not."""
        return self.own_reference or self.reference


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
    notes = (*found.notes, *dataset.notes)
    source = Source(sized, dataset, reference, names, notes)
    return source if options.teacher is None else _with_teacher(source, options.teacher, options)


def _with_teacher(source: Source, path: Path, options: ConvertOptions) -> Source:
    """Returns the source with the outputs of its teacher as the reference."""
    sized, samples = source.sized, source.dataset.verification
    own = SourceOptions(
        trust_source=options.trust_source,
        custom_objects=options.custom_objects,
        # The files' outputs are compared with both models', so both get the same pixels.
        resampling=sized.model.resampling,
    )
    model = read_model(path, own)
    if model.channels != sized.model.channels:
        raise InputError(
            f"{path}: takes {model.channels} channels, and {sized.model.path} takes "
            f"{sized.model.channels}; give the model that it was distilled from"
        )
    teacher, found = find_ranges(
        model.at(sized.height, sized.width),
        samples,
        input_range=options.input_range,
        output_range=options.output_range,
        evidence_first=True,
    )
    reference = compute_reference(teacher, samples, lambda: None)
    shape = source.reference.outputs[0].shape
    if reference.outputs[0].shape != shape:
        raise InputError(
            f"{path}: its output is {_size(reference.outputs[0].shape)} px, and that of "
            f"{sized.model.path} is {_size(shape)} px; give the model that it was distilled from"
        )
    notes = (*source.notes, *(f"teacher {path.name}: {note}" for note in found.notes))
    return replace(
        source, reference=reference, teacher=teacher, own_reference=source.reference, notes=notes
    )


def _size(shape: Sequence[int]) -> str:
    return f"{shape[0]} x {shape[1]}"


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
    if is_demo_model(model.path):
        return DEMO_SIZE
    fixed, remedy = fixed_size(model.height, model.width)
    what = f"fixes only {fixed}" if fixed else "does not fix its input size"
    raise InputError(f"{model.path}: the model {what}", remedy=remedy)
