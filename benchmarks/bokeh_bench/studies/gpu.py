"""Compares the GPU's and the CPU's outputs with each other and with the full model's."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bokeh_bench import child_process
from bokeh_bench.report.tables import markdown_table
from bokeh_convert import convert
from bokeh_runtime import HardwareError, InputError, TfliteModel
from bokeh_runtime.imaging.photo import to_unit
from bokeh_runtime.metrics.psnr import psnr, psnr_text, summarize_psnr
from bokeh_runtime.tflite.file import read_tflite
from bokeh_runtime.tflite.reference_pack import load_reference

SCHEMES = ("float32", "float16", "dynamic", "int8", "full-integer")


@dataclass(frozen=True)
class GpuRow:
    """The file of one scheme.

    Attributes:
        scheme: Quantization scheme.
        device: Name of the GPU.
        delegated_ops, total_ops: Number of delegated ops, and of all ops.
        gpu_vs_cpu_db, gpu_vs_full_model_db, cpu_vs_full_model_db: PSNR in dB, no border crop, peak
            1.0: the mean over the verification photos whose outputs are not identical; infinity if
            all are identical.
    """

    scheme: str
    device: str
    delegated_ops: int
    total_ops: int
    gpu_vs_cpu_db: float
    gpu_vs_full_model_db: float
    cpu_vs_full_model_db: float


def measure(
    model: Path, size: tuple[int, int], folder: Path, progress: Callable[[str], None]
) -> list[GpuRow]:
    """Converts a trained model with every scheme, and runs the files on the GPU and on the CPU.

    Args:
        model: The trained model.
        size: Height and width of the input, in pixels.
        folder: Folder for the files.
        progress: Called with a description of each step.

    Raises:
        HardwareError: If there is no GPU, or its driver fails or hangs.
        InputError: If the model cannot be converted or outputs NaN, or the GPU's output is
            bit-identical to the CPU's, so that it was not computed on the GPU.
    """
    progress("converting")
    conversions = convert(model, quant=list(SCHEMES), size=size, output_dir=folder)
    pack = load_reference(next(folder.glob("*.reference.npz")))
    rows = []
    for conversion in conversions:
        file = read_tflite(conversion.path)
        progress(f"running {file.path.name}")
        device, outputs = _run_on_gpu(file.path, pack.inputs, folder)
        cpu = TfliteModel(file.content)
        psnr_db = []
        for photo, output, full in zip(pack.inputs, outputs, pack.outputs, strict=True):
            both = np.stack([output, cpu.run(to_unit(photo))])
            if not np.isfinite(both).all():
                raise InputError(
                    f"{file.path.name}: the output contains NaN or infinity; check the model"
                )
            if np.array_equal(*both):
                raise InputError(
                    f"{file.path.name}: the GPU's output is bit-identical to the CPU's, so it was "
                    "not computed on the GPU; check the driver"
                )
            by_gpu, by_cpu = np.clip(both, 0, 1)
            pairs = ((by_gpu, by_cpu), (by_gpu, full), (by_cpu, full))
            psnr_db.append([psnr(one, other, border_px=0) for one, other in pairs])
        total = len(file.operators)
        # The file was opened for the GPU only, which fails unless all ops are delegated.
        means = [summarize_psnr(side).mean for side in zip(*psnr_db, strict=True)]
        rows.append(GpuRow(conversion.report.scheme, device, total, total, *means))
    return rows


def _run_on_gpu(
    model: Path, photos: Sequence[npt.NDArray[np.uint8]], folder: Path
) -> tuple[str, npt.NDArray[np.float32]]:
    """Returns the GPU's name and outputs. A process of its own runs it, since drivers may hang."""
    inputs, outputs = folder / "inputs.npy", folder / "outputs.npy"
    np.save(inputs, np.stack(photos))
    command = [sys.executable, "-m", "bokeh_bench.workers.gpu", model, inputs, outputs]
    try:
        done = child_process.run(command, seconds=(len(photos) + 1) * child_process.TIMEOUT_SECONDS)
    except child_process.TimeLimitError as error:
        raise HardwareError(f"gpu: running {model.name} {error}; its driver hangs") from error
    if done.returncode:
        last = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise HardwareError(f"gpu: running {model.name} failed ({last[-1]})")
    answer = json.loads(done.stdout.splitlines()[-1])
    if "error" in answer:
        raise HardwareError(answer["error"])
    return answer["device"], np.load(outputs)


def table(rows: Sequence[GpuRow]) -> str:
    """Returns a Markdown table."""
    text = markdown_table(
        ("scheme", "delegated ops", "GPU vs CPU", "GPU vs full model", "CPU vs full model"),
        [
            (
                row.scheme,
                f"{row.delegated_ops} of {row.total_ops}",
                psnr_text(row.gpu_vs_cpu_db),
                psnr_text(row.gpu_vs_full_model_db),
                psnr_text(row.cpu_vs_full_model_db),
            )
            for row in rows
        ],
    )
    return f"{text}\n\nDevice: {rows[0].device}."
