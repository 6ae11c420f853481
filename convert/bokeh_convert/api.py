"""`convert`: from a trained model to verified .tflite files, in one call."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bokeh_convert.process_state import keras_on_tensorflow
from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.resample import RESAMPLING

if TYPE_CHECKING:
    from bokeh_convert.report import ConversionReport

SCHEME_NAMES = ("float32", "float16", "dynamic", "int8", "int16x8", "full-integer")
LEVELS = ("l5", "l4", "l3", "l2", "l1", "l0", "l_up")
"""PyNET's outputs, from 1/32 of the input's height (l5) over its own (l0) to twice that (l_up)."""
PASS_NAMES = ("instance-norm", "merge-convolutions")
"""Rewrites of the graph that can be left out; see `bokeh_convert.passes`."""
DEMO_SIZE = (256, 384)
"""Height and width at which the demo model is converted if nobody asks for another size."""
_SIZE_MULTIPLE = 32

Progress = Callable[[str, int, int], None]
"""Called with what is being done, the steps done, and the steps in all."""


@dataclass(frozen=True)
class Conversion:
    """One converted file.

    Attributes:
        path: The .tflite file. Under another name (`*.failed.tflite`) if it did not pass.
        report_path: Its report, as JSON.
        reference_path: The reference pack, the same for all files of a run.
        comparison_path: The side-by-side picture, the same for all files of a run.
        report: What the file is and how faithful.
    """

    path: Path
    report_path: Path
    reference_path: Path
    comparison_path: Path
    report: ConversionReport


def demo_model() -> Path:
    """Returns the path of the trained model that ships with the package (see its MODEL_CARD.md)."""
    return Path(__file__).parent / "demo" / "demo_pynet.h5"


def convert(
    source: str | os.PathLike[str],
    *,
    quant: Sequence[str] = ("float16",),
    output_dir: str | os.PathLike[str] = ".",
    representative_dataset: str | os.PathLike[str] | None = None,
    samples: int = 100,
    seed: int = 0,
    size: tuple[int, int] | None = None,
    min_psnr_db: float | None = None,
    min_psnr_db_worst: float | None = None,
    max_latency: float | None = None,
    trade_off: bool = False,
    level: str | None = None,
    output_name: str | None = None,
    width: float | None = None,
    input_channels: int | None = None,
    residual: bool | None = None,
    custom_objects: Sequence[str] = (),
    trust_source: bool = False,
    resampling: str | None = None,
    skip_passes: Sequence[str] = (),
    threads: int | None = None,
    progress: Progress = lambda what, done, total: None,
) -> list[Conversion]:
    """Converts a trained model and holds every result against it.

    Writes, for `model.h5` and the scheme int8: `model_int8.tflite`, `model_int8.report.json`,
    `model.reference.npz` (inputs, and what the full model draws) and `model.comparison.png`. All
    appear together at the end, or none does.

    Args:
        source: A whole Keras model (.h5 of Keras 2 or 3, .keras), a SavedModel folder, weights
            alone of our PyNET (.h5, .weights.h5), or the prefix of the authors' TF1 checkpoint.
        quant: Schemes, of `SCHEME_NAMES`.
        output_dir: Made if missing.
        representative_dataset: Folder of photos that calibrate and verify (no photo does both);
            without it a few photos that ship with the package are used.
        samples: The most photos that calibrate.
        seed: Of the choice of photos.
        size: (height, width) in pixels, multiples of 32, for models that leave it open.
        min_psnr_db: A file does not pass if its mean PSNR over the verification photos is lower, or
            the PSNR of its pooled error. Photos that it draws bit for bit like the full model are
            left out of the mean. For int8, also what its plan is searched for; 40 dB unless given.
        min_psnr_db_worst: A file does not pass if the PSNR of its worst verification photo is
            lower; None is 3 dB under `min_psnr_db`. For int8, also what its plan is searched for.
        max_latency: For int8: the most that the plan may cost on a phone's CPU, in instructions,
            over the float32 file (an estimate; see `bokeh_convert.quantize.cost_model`).
        trade_off: For int8: try plans beyond the first that is good enough, and draw the curve.
        level: Of a model with several outputs, take the one of this level's size: one of
            `LEVELS`. Without it and `output_name`, the largest is taken, if no other is as large.
        output_name: Of a model with several outputs, take this one.
        width: For weights alone: channels as a fraction of the authors' (None is 1.0).
        input_channels: For weights alone: 3 or 4 (None is 4).
        residual: For weights alone: the network's output is added to the photo.
        custom_objects: Layer classes that the model needs and only you have: "module:NAME".
        trust_source: Run code that the source holds. Without it such sources are refused.
        resampling: How photos were scaled to the input in training: "area" or "bicubic"; the file
            says it, so that it is used alike. None is "bicubic" for the authors' checkpoints, else
            "area".
        skip_passes: Rewrites to leave out, of `PASS_NAMES`.
        threads: CPU threads; None takes all cores.
        progress: Told of every step.

    Returns:
        One conversion for each scheme, in the order asked.

    Raises:
        InputError: If the source, the photos, the options or the folder are wrong.
    """
    schemes = list(dict.fromkeys(quant))
    unknown = [name for name in schemes if name not in SCHEME_NAMES]
    if unknown or not schemes:
        raise InputError(f"--quant {','.join(unknown)}: choose from {', '.join(SCHEME_NAMES)}")
    strange = [name for name in skip_passes if name not in PASS_NAMES]
    if strange:
        raise InputError(f"--no-pass {strange[0]}: choose from {', '.join(PASS_NAMES)}")
    if size is not None and any(side <= 0 or side % _SIZE_MULTIPLE for side in size):
        raise InputError(f"--size {size[0]}x{size[1]}: both must be multiples of {_SIZE_MULTIPLE}")
    if level is not None and level not in LEVELS:
        raise InputError(f"--level {level}: choose from {', '.join(LEVELS)}")
    if resampling is not None and resampling not in RESAMPLING:
        raise InputError(f"--resampling {resampling}: choose from {', '.join(RESAMPLING)}")
    for option, asked in (("--min-psnr", min_psnr_db), ("--min-psnr-worst", min_psnr_db_worst)):
        if asked is not None and not math.isfinite(asked):
            raise InputError(f"{option} {asked:g}: is no PSNR in dB; give a number such as 40")
    if level is not None and output_name is not None:
        raise InputError("--level and --output-name both choose an output; give one of them")
    path = Path(source)
    photos = None if representative_dataset is None else Path(representative_dataset)
    # Imported late: TensorFlow takes seconds, and a wrong option should not.
    progress("loading TensorFlow", 0, 1)
    keras_on_tensorflow()  # first, since TensorFlow imports it
    from bokeh_convert.quantize.mixed_precision_search import TARGET_DB, Budget
    from bokeh_convert.run import Run
    from bokeh_convert.sources import SourceOptions
    from bokeh_convert.verify.verification import FidelityLimits

    options = SourceOptions(
        level,
        output_name,
        width,
        input_channels,
        residual,
        trust_source,
        tuple(custom_objects),
        resampling,
    )
    if max_latency is not None and not max_latency > 0:
        raise InputError(f"--max-latency {max_latency:g}: a ratio above 0, such as 0.5")
    cores = threads or os.cpu_count() or 1
    budget = Budget(
        TARGET_DB if min_psnr_db is None else min_psnr_db, max_latency, min_psnr_db_worst
    )
    least = budget.worst_db if min_psnr_db is not None else min_psnr_db_worst
    skipped = frozenset(skip_passes)
    run = Run(
        path, options, photos, samples, seed, size, skipped, budget, trade_off, cores, progress
    )
    return run.convert(schemes, Path(output_dir), FidelityLimits(min_psnr_db, least))
