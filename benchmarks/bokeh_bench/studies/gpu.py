"""Whose picture is nearer to the full model's: the GPU's, or the CPU's?"""

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
    """One scheme; PSNR in dB, the mean over the verification photos, protocol `full`.

    Photos whose pictures are identical are left out of the mean; infinity if all are.
    """

    scheme: str
    device: str
    delegated_ops: int
    total_ops: int
    gpu_vs_cpu_db: float
    gpu_vs_full_model_db: float
    cpu_vs_full_model_db: float


def measure(
    model: Path, size: tuple[int, int], folder: Path, say: Callable[[str], None]
) -> list[GpuRow]:
    """Converts a trained model into every scheme, and draws the verification photos on both.

    Raises:
        HardwareError: If there is no GPU, or its driver fails or hangs.
        InputError: If the model cannot be converted, or draws NaN.
    """
    say("converting")
    conversions = convert(model, quant=list(SCHEMES), size=size, output_dir=folder)
    pack = load_reference(next(folder.glob("*.reference.npz")))
    rows = []
    for conversion in conversions:
        file = read_tflite(conversion.path)
        say(f"drawing with {file.path.name}")
        device, outputs = _on_gpu(file.path, pack.inputs, folder)
        cpu = TfliteModel(file.content)
        distances = []
        for photo, output, full in zip(pack.inputs, outputs, pack.outputs, strict=True):
            both = np.stack([output, cpu.run(to_unit(photo))])
            if not np.isfinite(both).all():
                raise InputError(f"{file.path.name}: draws NaN or infinity")
            if np.array_equal(*both):
                raise InputError(f"{file.path.name}: bit for bit the CPU's; it did not run there")
            by_gpu, by_cpu = np.clip(both, 0, 1)
            pairs = ((by_gpu, by_cpu), (by_gpu, full), (by_cpu, full))
            distances.append([psnr(one, other, border_px=0) for one, other in pairs])
        total = len(file.operators)
        # The GPU took it alone, so it runs all of it.
        means = [summarize_psnr(side).mean for side in zip(*distances, strict=True)]
        rows.append(GpuRow(conversion.report.scheme, device, total, total, *means))
    return rows


def _on_gpu(
    model: Path, photos: Sequence[npt.NDArray[np.uint8]], folder: Path
) -> tuple[str, npt.NDArray[np.float32]]:
    """Returns the device's name and what it draws; in a process of its own, which may hang."""
    inputs, outputs = folder / "inputs.npy", folder / "outputs.npy"
    np.save(inputs, np.stack(photos))
    command = [sys.executable, "-m", "bokeh_bench.workers.gpu", model, inputs, outputs]
    try:
        done = child_process.run(command, seconds=(len(photos) + 1) * child_process.SECONDS)
    except child_process.TimeLimitError as error:
        raise HardwareError(f"gpu: running {model.name} {error}; its driver hangs") from error
    if done.returncode:
        last = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise HardwareError(f"gpu: running {model.name} failed ({last[-1]})")
    answer = json.loads(done.stdout.splitlines()[-1])
    if "fault" in answer:
        raise HardwareError(answer["fault"])
    return answer["device"], np.load(outputs)


def table(rows: Sequence[GpuRow]) -> str:
    """Returns a Markdown table."""
    text = markdown_table(
        ("file", "operators on the GPU", "GPU to CPU", "GPU to full model", "CPU to full model"),
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
