"""The rows of a benchmark report, and the report's JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from bokeh_bench.measure.latency import Latency, LatencyRatio
from bokeh_bench.measure.operator_times import OperatorTime
from bokeh_runtime.backends.placement import Placement
from bokeh_runtime.imaging.photo import FloatImage
from bokeh_runtime.metrics.fidelity import PROTOCOLS, Fidelity, ImageFidelity
from bokeh_runtime.metrics.psnr import finite_db
from bokeh_runtime.metrics.registry import all_metrics

SCHEMA = "bokeh-tflite/bench/2"
"""Version of the JSON; `bokeh_bench.report.older_schemas` reads the versions before it."""


@dataclass(frozen=True)
class ModelFile:
    """A .tflite file.

    Attributes:
        name: File name.
        sha256: Hash of the content, in hex; "" if the file could not be read.
        size_bytes: File size; None if it could not be read.
        scheme: Quantization scheme from the file's metadata; "" without metadata.
        input: Input size, such as "256 x 384 RGB"; "" if it could not be read.
    """

    name: str
    sha256: str = ""
    size_bytes: int | None = None
    scheme: str = ""
    input: str = ""


@dataclass(frozen=True)
class SampleImages:
    """The images of one reference sample, for the HTML report.

    Attributes:
        name: Name of the photo.
        photo: RGB part of the network input, uint8 [input height, input width, 3].
        full_model: Output of the full model, [height, width, 3] in [0, 1].
        output: Output of the model under test, same shape and range.
    """

    name: str
    photo: npt.NDArray[np.uint8]
    full_model: FloatImage
    output: FloatImage


@dataclass(frozen=True)
class Row:
    """The result of one benchmark case: one model on one delegate.

    Attributes:
        model: The model file.
        delegate: The requested delegate.
        threads: Requested number of CPU threads; None if the interpreter chose.
        device: "host", "arm64" or the phone's serial number.
        failure: Why the case failed; "" if it did not.
        failure_kind: "hardware" or "input"; "" if it did not fail.
        placement: Where the model ran.
        latency: None under QEMU, where times are meaningless.
        instructions: Instructions of one inference; None where they are not counted.
        peak_rss_bytes: Peak resident memory of the process; None where it is not measured.
        temperature_c: Before and after the timed runs, in degrees Celsius; None if unknown.
        fidelity: To each kind of reference, in each protocol.
        operator_times: Time per node type, slowest first.
        operator_times_note: Why there are no operator times; "" if there are.
        notes: Remarks for the report's reader.
        sample_images: Images for the HTML report; not in the JSON.
    """

    model: ModelFile
    delegate: str
    threads: int | None = None
    device: str = "host"
    failure: str = ""
    failure_kind: str = ""
    placement: Placement | None = None
    latency: Latency | None = None
    instructions: int | None = None
    peak_rss_bytes: int | None = None
    temperature_c: Sequence[float] | None = None
    fidelity: Sequence[Fidelity] = ()
    operator_times: Sequence[OperatorTime] = ()
    operator_times_note: str = ""
    notes: Sequence[str] = ()
    sample_images: Sequence[SampleImages] = field(default=(), repr=False, compare=False)

    @property
    def name(self) -> str:
        """Unique name within a report, such as "demo_int8.tflite, cpu, 2 threads"."""
        threads = "" if self.threads is None else f", {self.threads} threads"
        device = "" if self.device == "host" else f" on {self.device}"
        return f"{self.model.name}, {self.delegate}{threads}{device}"

    def fidelity_to(self, vs: str, protocol: str = "full") -> Fidelity | None:
        """Returns the fidelity to "full_model" or "ground_truth"; None if it was not measured."""
        for fidelity in self.fidelity:
            if (fidelity.vs, fidelity.protocol) == (vs, protocol):
                return fidelity
        return None


@dataclass(frozen=True)
class PairedComparison:
    """The latency ratio of two models, measured in interleaved runs.

    Attributes:
        first, second: Names of their rows.
        latency_ratio: Run time of the first divided by that of the second.
        runs_per_model: Number of timed runs of each model, over all rounds.
        rounds: Number of rounds; each starts fresh processes.
    """

    first: str
    second: str
    latency_ratio: LatencyRatio
    runs_per_model: int
    rounds: int


@dataclass(frozen=True)
class Report:
    """A whole benchmark run.

    Attributes:
        created: Time of the start, ISO 8601 in UTC.
        environment: The machine or the phone that ran; see `bokeh_bench.machine`.
        rows: In the order in which they were measured.
        paired_comparison: With `--pair` only.
        interrupted: Whether the run was interrupted, so that rows are missing.
    """

    created: str
    environment: Mapping[str, Any]
    rows: Sequence[Row]
    paired_comparison: PairedComparison | None = None
    interrupted: bool = False

    def to_data(self) -> dict[str, Any]:
        """Returns JSON data of the schema `SCHEMA`.

        For identical images `psnr_db` is None and `identical` is True; `psnr_db_mean`,
        `psnr_db_pooled` and `psnr_db_worst` are None only if all images are identical. `p90_ms` and
        `p99_ms` are None if there are too few runs for them.
        """
        comparison = self.paired_comparison
        return {
            "schema": SCHEMA,
            "created": self.created,
            "environment": dict(self.environment),
            "interrupted": self.interrupted,
            "rows": [_row(row) for row in self.rows],
            "paired_comparison": None if comparison is None else asdict(comparison),
        }


def _row(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "model": asdict(row.model),
        "device": row.device,
        "delegate": row.delegate,
        "threads": row.threads,
        "failure": row.failure,
        "failure_kind": row.failure_kind,
        "placement": None if row.placement is None else asdict(row.placement),
        "latency": None if row.latency is None else _latency(row.latency),
        "instructions": row.instructions,
        "peak_rss_bytes": row.peak_rss_bytes,
        "temperature_c": row.temperature_c,
        "fidelity": [_fidelity(fidelity) for fidelity in row.fidelity],
        "operator_times": [asdict(time) for time in row.operator_times],
        "operator_times_note": row.operator_times_note,
        "notes": list(row.notes),
    }


def _latency(latency: Latency) -> dict[str, Any]:
    return {
        "load_ms": round(latency.load_ms, 3),
        "first_inference_ms": round(latency.first_inference_ms, 3),
        "warm_up_runs": latency.warm_up_runs,
        "latency_ms": round(latency.median_ms, 4),
        "p90_ms": _rounded(latency.tail_percentile_ms(90)),
        "p99_ms": _rounded(latency.tail_percentile_ms(99)),
        "iqr_ms": round(latency.iqr_ms, 4),
        "drift": round(latency.drift, 4),
        "runs_ms": [round(ms, 4) for ms in latency.runs_ms],
    }


def _rounded(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds, 4)


def _fidelity(fidelity: Fidelity) -> dict[str, Any]:
    return {
        "vs": fidelity.vs,
        "protocol": fidelity.protocol,
        "border_px": PROTOCOLS[fidelity.protocol],
        "peak": 1.0,
        "psnr_db_mean": finite_db(fidelity.psnr_db_mean),
        "psnr_db_pooled": finite_db(fidelity.psnr_db_pooled),
        "psnr_db_worst": finite_db(fidelity.psnr_db_worst),
        "identical_images": fidelity.psnr.identical_images,
        **fidelity.figures(all_metrics()),
        "images": [_image(image) for image in fidelity.images],
    }


def _image(image: ImageFidelity) -> dict[str, Any]:
    return {
        "name": image.name,
        "psnr_db": finite_db(image.psnr_db),
        **image.values,
        "identical": image.psnr_db == math.inf,
    }
