"""Whose picture is nearer to the full model's: the GPU's, or the CPU's?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bokeh_convert import convert
from bokeh_runtime import InputError, TfliteModel, psnr
from bokeh_runtime.accelerator import AcceleratedModel
from bokeh_runtime.photo import to_unit
from bokeh_runtime.psnr import psnr_text, summarize_psnr
from bokeh_runtime.reference import load_reference
from bokeh_runtime.tflite_file import read_tflite

SCHEMES = ("float32", "float16", "dynamic", "int8", "full-integer")


@dataclass(frozen=True)
class GpuRow:
    """One scheme; PSNR in dB, the mean over the verification photos, protocol `full`.

    Photos whose pictures are identical are left out of the mean; infinity if all are.
    """

    scheme: str
    device: str
    nodes_placed: int
    nodes_total: int
    gpu_vs_cpu_db: float
    gpu_vs_full_model_db: float
    cpu_vs_full_model_db: float


def measure(
    model: Path, size: tuple[int, int], folder: Path, say: Callable[[str], None]
) -> list[GpuRow]:
    """Converts a trained model into every scheme, and draws the verification photos on both.

    Raises:
        HardwareError: If there is no GPU.
        InputError: If the model cannot be converted.
    """
    say("converting")
    conversions = convert(model, quant=list(SCHEMES), size=size, output_dir=folder)
    pack = load_reference(next(folder.glob("*.reference.npz")))
    rows = []
    for conversion in conversions:
        file = read_tflite(conversion.path)
        say(f"drawing with {file.path.name}")
        gpu, cpu = AcceleratedModel(file, "gpu"), TfliteModel(file.content)
        distances = []
        for photo, full in zip(pack.inputs, pack.outputs, strict=True):
            tensor = to_unit(photo)
            drawn = [one.run(tensor) for one in (gpu, cpu)]
            if not all(np.isfinite(picture).all() for picture in drawn):
                raise InputError(f"{file.path.name}: draws NaN or infinity; convert it again")
            by_gpu, by_cpu = (np.clip(picture, 0, 1) for picture in drawn)
            if np.array_equal(by_gpu, by_cpu):
                raise InputError(f"{file.path.name}: bit for bit the CPU's; it did not run there")
            pairs = ((by_gpu, by_cpu), (by_gpu, full), (by_cpu, full))
            distances.append([psnr(one, other, border_px=0) for one, other in pairs])
        rows.append(
            GpuRow(
                conversion.report.scheme,
                gpu.device.name,
                gpu.nodes_placed,
                len(file.operators),
                *(summarize_psnr(side).mean for side in zip(*distances, strict=True)),
            )
        )
        gpu.close()
    return rows


def table(rows: Sequence[GpuRow]) -> str:
    """Returns a Markdown table."""
    lines = [
        "| file | operators on the GPU | GPU to CPU | GPU to full model | CPU to full model |",
        "| --- |" + " ---: |" * 4,
    ]
    lines += [
        f"| {row.scheme} | {row.nodes_placed} of {row.nodes_total} "
        f"| {psnr_text(row.gpu_vs_cpu_db)} "
        f"| {psnr_text(row.gpu_vs_full_model_db)} | {psnr_text(row.cpu_vs_full_model_db)} |"
        for row in rows
    ]
    return "\n".join([*lines, "", f"Device: {rows[0].device}."])
