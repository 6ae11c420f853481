"""`convert`: from a trained model to verified .tflite files, in one call."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from bokeh_convert.demo import DEMO_SIZE, demo_model
from bokeh_convert.npu.libraries import find_toolchain
from bokeh_convert.npu.vendors import find_npus
from bokeh_convert.options import LEVELS, SCHEME_NAMES, ConvertOptions, NpuOptions
from bokeh_convert.passes import OPTIONAL_PASS_NAMES, PASS_NAMES
from bokeh_convert.process_state import require_tensorflow_backend
from bokeh_convert.progress import Progress
from bokeh_convert.quantize.schemes import DEFAULT_SCHEME
from bokeh_convert.result import Conversion
from bokeh_convert.targets import best_schemes, find_targets

__all__ = [
    "DEMO_SIZE",
    "LEVELS",
    "OPTIONAL_PASS_NAMES",
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
    quant: Sequence[str] | None = None,
    targets: Sequence[str] = (),
    output_dir: str | os.PathLike[str] = ".",
    representative_dataset: str | os.PathLike[str] | None = None,
    samples: int = 100,
    seed: int = 0,
    size: tuple[int, int] | None = None,
    min_psnr_db: float | None = None,
    min_psnr_db_worst: float | None = None,
    max_grain: float | None = None,
    max_latency: float | None = None,
    trade_off: bool = False,
    level: str | None = None,
    output_name: str | None = None,
    width: float | None = None,
    input_channels: int | None = None,
    residual: bool | None = None,
    custom_objects: Sequence[str] = (),
    teacher: str | os.PathLike[str] | None = None,
    trust_source: bool = False,
    resampling: str | None = None,
    input_range: str | None = None,
    output_range: str | None = None,
    extra_passes: Sequence[str] = (),
    skip_passes: Sequence[str] = (),
    threads: int | None = None,
    npu: Sequence[str] = (),
    allow_partial: bool = False,
    emulate_photos: int = 0,
    progress: Progress = lambda description, done, total: None,
) -> list[Conversion]:
    """Converts a trained model and compares each converted file with it.

    For `model.h5` and the scheme int8, this writes `model_int8.tflite`, `model_int8.report.json`,
    `model.reference.npz` (verification photos and the full model's outputs) and
    `model.comparison.png`. Either all files are written or none.

    Args:
        source: A whole Keras model (.h5 of Keras 2 or 3, .keras), a SavedModel folder, a weights
            file of our PyNET (.h5, .weights.h5), or the prefix of a TF1 checkpoint of the PyNET
            authors' code.
        quant: Quantization schemes, from `SCHEME_NAMES`. None for the one that all targets run
            best, or for float16 if there are no targets.
        targets: What the file must run on, from `bokeh_convert.targets`. They choose the scheme and
            the optional graph rewrites; the report tells which of them run the file.
        output_dir: Output folder; created if missing.
        representative_dataset: Folder of photos for calibration and verification; each photo is
            used for only one of them. None for a few photos that ship with the package.
        samples: Maximum number of calibration photos, at least 1.
        seed: Random seed of the calibration / verification split.
        size: Input (height, width) in pixels; required if the model does not fix its input size.
        min_psnr_db: Limit on the mean PSNR against the full model, and on the PSNR of the pooled
            error. A file below the limit does not pass. Photos whose output is identical to the
            full model's do not count for the mean. Also a target of the mixed-precision search
            of int8 and dynamic, there 42 dB by default.
        min_psnr_db_worst: Limit on the PSNR of the worst verification photo; None for 3 dB below
            `min_psnr_db`. Also a target of the mixed-precision search.
        max_grain: Limit on the grain of the worst verification photo against the full model, in
            units of 1/255; None for no limit. Grain is fine noise in smooth areas: rounding to 8
            bits gives 0.2 to 0.3, and less than about 0.5 is not seen (see
            `bokeh_runtime.metrics.grain`). Photos without smooth areas do not count; a file does
            not pass if no photo has any. Also a target of the mixed-precision search, there 0.75 by
            default.
        max_latency: For int8 and dynamic: limit on the estimated CPU cost, as a ratio to the
            float32 file's (instructions on a phone; see `bokeh_convert.graph.cost_model`).
        trade_off: For int8 and dynamic: continue the mixed-precision search after its targets are
            met, and plot PSNR against cost.
        level: If the model has several outputs, use the one of this level's size, from `LEVELS`.
            If neither `level` nor `output_name` is given, the largest output is used; there must be
            only one of that size.
        output_name: If the model has several outputs, use the one with this name.
        width: For a weights file: channel multiplier of the PyNET; None for 1.0.
        input_channels: For a weights file: 3 (RGB) or 4 (RGB + depth); None for 4.
        residual: For a weights file: whether the network's output is added to the photo.
        custom_objects: Your own layer classes that the model uses, as "module:NAME" or
            "file.py:NAME".
        teacher: For a model that was distilled from another: that model, with which the files are
            compared in place of the source. Limits apply to the distance from it; the report gives
            the distance from the source, too. Its value ranges are what it shows of them, else
            `input_range` and `output_range`.
        trust_source: Run code that the source contains. If False, such sources are refused.
        resampling: How photos were resized to the network input in training: "area" or "bicubic".
            Stored in the file, so that inference does the same. None for "bicubic" if the source is
            a checkpoint of the PyNET authors, else "area".
        input_range: Values of black and white in the network's input, as "LOW..HIGH": "0..1",
            "-1..1", "0..255". Stored in the file, so that inference does the same. None to find it
            by the network's operators and by its output on photos.
        output_range: The same for the network's output.
        extra_passes: Graph rewrites to apply that are off by default, from `OPTIONAL_PASS_NAMES`.
        skip_passes: Graph rewrites to skip, from `PASS_NAMES`.
        threads: CPU threads; None for all cores.
        npu: NPUs to compile each file for that passed, as "VENDOR:CHIP", such as
            "qualcomm:SM8650"; see `bokeh_convert.npu.vendors`. The compiled file is
            `model_int8.qualcomm-SM8650.tflite`, and `report.npu` says what the NPU runs.
        allow_partial: Also write compiled files of which the CPU has to run a part. If False, such
            a file is in the report alone.
        emulate_photos: Number of verification photos on which each compiled file is run by the
            vendor's emulator, and compared with the full model. Each takes about a minute.
        progress: Called at each step.

    Returns:
        One conversion per scheme, in the order of `quant`.

    Raises:
        InputError: If the source, the photos, an argument or the output folder cannot be used.
        HardwareError: If the compiler or the emulator of an NPU is not installed or fails.
    """
    options = ConvertOptions(
        source=Path(source),
        schemes=_schemes(quant, targets),
        output_dir=Path(output_dir),
        representative_dataset=_path(representative_dataset),
        samples=samples,
        seed=seed,
        size=size,
        min_psnr_db=min_psnr_db,
        min_psnr_db_worst=min_psnr_db_worst,
        max_grain=max_grain,
        max_latency=max_latency,
        trade_off=trade_off,
        level=level,
        output_name=output_name,
        width=width,
        input_channels=input_channels,
        residual=residual,
        custom_objects=tuple(custom_objects),
        teacher=None if teacher is None else Path(teacher),
        trust_source=trust_source,
        resampling=resampling,
        input_range=input_range,
        output_range=output_range,
        targets=find_targets(targets),
        extra_passes=tuple(extra_passes),
        skip_passes=tuple(skip_passes),
        threads=threads or os.cpu_count() or 1,
        npu=NpuOptions(find_npus(npu), allow_partial, emulate_photos),
    )
    return _run(options, progress)


def _run(options: ConvertOptions, progress: Progress) -> list[Conversion]:
    for npu in options.npu.targets:
        find_toolchain(npu)
    if options.npu.photos:
        from bokeh_convert.npu.emulator import require_emulator

        require_emulator(options.npu.targets)
    # Imported here because TensorFlow takes seconds, and a wrong argument is reported before.
    progress("loading TensorFlow", 0, 1)
    require_tensorflow_backend()  # before TensorFlow, which imports Keras
    from bokeh_convert import pipeline

    return pipeline.run(options, progress)


def _path(path: str | os.PathLike[str] | None) -> Path | None:
    return None if path is None else Path(path)


def _schemes(quant: Sequence[str] | None, targets: Sequence[str]) -> tuple[str, ...]:
    """Returns the schemes without duplicates."""
    names = (best_schemes(find_targets(targets)) or [DEFAULT_SCHEME]) if quant is None else quant
    return tuple(dict.fromkeys(names))
