"""`convert`: from a trained model to verified .tflite files, in one call."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from bokeh_convert.demo import DEMO_SIZE, demo_model
from bokeh_convert.options import LEVELS, PASS_NAMES, SCHEME_NAMES, ConvertOptions
from bokeh_convert.process_state import require_tensorflow_backend
from bokeh_convert.progress import Progress
from bokeh_convert.result import Conversion

__all__ = [
    "DEMO_SIZE",
    "LEVELS",
    "PASS_NAMES",
    "SCHEME_NAMES",
    "Conversion",
    "Progress",
    "convert",
    "demo_model",
]


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
            over the float32 file (an estimate; see `bokeh_convert.graph.cost_model`).
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
    options = ConvertOptions(
        source=Path(source),
        schemes=tuple(dict.fromkeys(quant)),
        output_dir=Path(output_dir),
        photos=None if representative_dataset is None else Path(representative_dataset),
        samples=samples,
        seed=seed,
        size=size,
        min_psnr_db=min_psnr_db,
        min_psnr_db_worst=min_psnr_db_worst,
        max_latency=max_latency,
        trade_off=trade_off,
        level=level,
        output_name=output_name,
        width=width,
        input_channels=input_channels,
        residual=residual,
        custom_objects=tuple(custom_objects),
        trust_source=trust_source,
        resampling=resampling,
        skip_passes=tuple(skip_passes),
        threads=threads or os.cpu_count() or 1,
    )
    # Imported late: TensorFlow takes seconds, and a wrong option should not.
    progress("loading TensorFlow", 0, 1)
    require_tensorflow_backend()  # first, since TensorFlow imports it
    from bokeh_convert import pipeline

    return pipeline.run(options, progress)
