"""Runs the files of several schemes with OpenVINO, and compares time and output with the CPU's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bokeh_bench.measure.latency import LatencyRatio, estimate_latency_ratio
from bokeh_bench.report.tables import markdown_table
from bokeh_bench.studies.agreement import blocks
from bokeh_bench.studies.npu_files import Plan, converted
from bokeh_bench.workers.process import Worker
from bokeh_runtime.errors import HardwareError
from bokeh_runtime.metrics.psnr import psnr, psnr_text, summarize_psnr
from bokeh_runtime.tflite.reference_pack import Reference, load_reference

RUNS = 10
_TIMEOUT_S = 600


@dataclass(frozen=True)
class OpenVinoRow:
    """A file with OpenVINO, and the same file on the CPU with XNNPACK.

    Attributes:
        scheme: Quantization scheme.
        device: What computes.
        operators, taken, parts: Operators of the file, how many of them OpenVINO runs, and in how
            many parts; None if it refuses the file.
        psnr_mean, psnr_worst: PSNR of its output against the full model, in dB, no border crop.
        ratio: Its run time divided by XNNPACK's, in interleaved runs.
        failure: Why it refuses the file; None if it does not.
    """

    scheme: str
    device: str | None
    operators: int
    taken: int | None
    parts: int | None
    psnr_mean: float | None
    psnr_worst: float | None
    ratio: LatencyRatio | None
    failure: str | None


def measure(model: Path, plan: Plan, progress: Callable[[str], None]) -> list[OpenVinoRow]:
    """Converts a trained model for OpenVINO with every scheme, and runs the files.

    Raises:
        InputError: If the model cannot be converted.
    """
    folder = plan.folder / "openvino"
    reports = converted(model, plan, folder, progress, targets=("openvino",))
    rows = []
    for report in reports:
        progress(f"running {report['scheme']} with OpenVINO")
        rows.append(_row(folder, report, plan.threads))
    return rows


def _row(folder: Path, report: dict[str, Any], threads: int) -> OpenVinoRow:
    reference = load_reference(folder / report["reference"]["file"])
    operators = sum(report["operators"].values())
    request = {
        "model": str(folder / report["file"]), "threads": threads, "allow_partial": True,
    }  # fmt: skip
    with (
        Worker({**request, "delegate": "npu"}, seconds=_TIMEOUT_S) as npu,
        Worker({**request, "delegate": "cpu"}, seconds=_TIMEOUT_S) as cpu,
    ):
        try:
            placement = npu.call("open")["placement"]
        except HardwareError as error:
            failure = str(error)
            return OpenVinoRow(
                report["scheme"], None, operators, None, None, None, None, None, failure
            )
        cpu.call("open")
        quality = summarize_psnr(_psnr(npu, reference, folder))
        times = [
            (npu.call("time_one_run")["ms"], cpu.call("time_one_run")["ms"])
            for _ in range(RUNS + 1)
        ][1:]  # the first run prepares kernels
    by_npu, by_cpu = zip(*times, strict=True)
    return OpenVinoRow(
        report["scheme"],
        placement["device"],
        operators,
        placement["delegated_ops"],
        placement["partitions"],
        quality.mean,
        quality.worst,
        estimate_latency_ratio(blocks(by_npu, by_cpu)),
        None,
    )


def _psnr(worker: Worker, reference: Reference, folder: Path) -> list[float]:
    inputs, outputs = folder / "inputs.npy", folder / "outputs.npy"
    np.save(inputs, np.stack(reference.inputs))
    worker.call("infer", inputs=str(inputs), outputs=str(outputs))
    return [
        psnr(np.clip(output, 0, 1), expected, border_px=0)
        for output, expected in zip(np.load(outputs), reference.outputs, strict=True)
    ]


def table(rows: Sequence[OpenVinoRow]) -> str:
    """Returns a Markdown table, and why files were refused."""
    headings = ("scheme", "operators", "parts", "PSNR", "worst", "time, XNNPACK = 1")
    shown = [row for row in rows if row.failure is None]
    refused = [f"{row.scheme}: {row.failure}" for row in rows if row.failure is not None]
    devices = dict.fromkeys(row.device for row in shown)
    lines = [markdown_table(headings, [tuple(_cells(row)) for row in shown])]
    lines += [f"Device: {device}." for device in devices]
    return "\n\n".join([*lines, *refused])


def _cells(row: OpenVinoRow) -> Iterator[str]:
    assert row.ratio is not None
    yield row.scheme
    yield f"{row.taken} of {row.operators}"
    yield str(row.parts)
    yield psnr_text(row.psnr_mean)
    yield psnr_text(row.psnr_worst)
    low, high = row.ratio.ci95_low, row.ratio.ci95_high
    yield f"{row.ratio.estimate:.2f} ({low:.2f} to {high:.2f})"
