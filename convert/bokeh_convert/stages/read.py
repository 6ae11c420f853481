"""Reads the trained model and the photos, and runs the model on those that verify."""

from __future__ import annotations

from dataclasses import dataclass

from bokeh_convert.data.calibration_data import SampleSet, draw_samples, pass_over_unreadable
from bokeh_convert.demo import DEMO_SIZE, demo_model
from bokeh_convert.options import ConvertOptions
from bokeh_convert.progress import Steps
from bokeh_convert.quantize.schemes import SCHEMES
from bokeh_convert.result import FileNames
from bokeh_convert.sources import SourceOptions, read_model
from bokeh_convert.sources.float_model import FloatModel, SizedModel
from bokeh_convert.verify.verification import draw_reference
from bokeh_runtime.atomic_output import refuse_folder
from bokeh_runtime.errors import InputError
from bokeh_runtime.tflite.reference_pack import Reference


@dataclass(frozen=True)
class Source:
    """What all files of a run are made from and held against.

    Attributes:
        sized: The trained model at its input size.
        samples: The photos that calibrate and those that verify.
        reference: The verification photos, and the full model's output on them.
        names: Of the files to be written.
    """

    sized: SizedModel
    samples: SampleSet
    reference: Reference
    names: FileNames


def read_source(options: ConvertOptions, steps: Steps) -> Source:
    """Reads the model and the photos, and runs the model on the photos that verify.

    Raises:
        InputError: If the model or the photos are wrong, or a folder is where a file shall go.
    """
    steps.begin(f"reading {options.source.name}")
    with steps.timed("read_s"):
        model = read_model(options.source, _source_options(options))
    names = FileNames(model.name)
    _refuse_folders(options, names)
    samples = draw_samples(
        options.photos, channels=model.channels, count=options.samples, seed=options.seed
    )
    calibrated = any(SCHEMES[name].calibrated for name in options.schemes)
    planned = any(SCHEMES[name].planned for name in options.schemes)
    steps.begin("reading the photos")
    samples = pass_over_unreadable(samples, calibrates=calibrated or planned)
    verified = len(samples.verification)
    steps.total = 2 + calibrated + verified + len(options.schemes) * (1 + verified)
    sized = model.at(*_input_size(model, options))
    steps.next(f"drawing with {options.source.name}")
    with steps.timed("reference_s"):
        reference = draw_reference(sized, samples.verification, steps.next)
    return Source(sized, samples, reference, names)


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
    """Refuses what would fail when the files are put in place, before the work."""
    for scheme in options.schemes:
        refuse_folder(options.output_dir / names.tflite(scheme))
        refuse_folder(options.output_dir / names.report(scheme))
    for name in (names.reference, names.comparison):
        refuse_folder(options.output_dir / name)


def _input_size(model: FloatModel, options: ConvertOptions) -> tuple[int, int]:
    if options.size is not None:
        return options.size
    if model.height is not None and model.width is not None:
        return model.height, model.width
    if model.path.resolve() == demo_model().resolve():
        return DEMO_SIZE
    raise InputError(f"{model.path}: leaves its input size open; give --size HEIGHTxWIDTH")
