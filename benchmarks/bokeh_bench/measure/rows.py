"""What a benchmark found, and the JSON that holds it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from bokeh_bench.measure.latency import Latency, Ratio
from bokeh_bench.measure.operator_times import OperatorTime
from bokeh_runtime.backends.placement import Placement
from bokeh_runtime.imaging.photo import FloatImage
from bokeh_runtime.metrics.fidelity import PROTOCOLS, PerceptualFidelity, PerceptualImageFidelity
from bokeh_runtime.metrics.psnr import finite_db

SCHEMA = "bokeh-tflite/bench/1"


@dataclass(frozen=True)
class ModelFile:
    """A .tflite file.

    Attributes:
        name: Of the file.
        sha256: Of its bytes, in hex; "" if it could not be read.
        size_bytes: None likewise.
        scheme: From its metadata; "" without.
        input: Such as "256 x 384 RGB"; "" if it could not be read.
    """

    name: str
    sha256: str = ""
    size_bytes: int | None = None
    scheme: str = ""
    input: str = ""


@dataclass(frozen=True)
class Picture:
    """A photo of the reference pack, and what was drawn of it: [height, width, 3] in [0, 1]."""

    name: str
    photo: npt.NDArray[np.uint8]
    full_model: FloatImage
    drawn: FloatImage


@dataclass(frozen=True)
class Row:
    """One model on one delegate.

    Attributes:
        device: "host", "arm64" or the phone's serial number.
        delegate: That was asked for.
        threads: Of the CPU; None where it was left open.
        failure: Why nothing was measured; "" if it was.
        failure_kind: "hardware" or "input"; "" likewise.
        placement: Where it ran.
        latency: None where no time means anything (QEMU).
        instructions: Of one inference; where they were counted.
        temperature_c: Before and after the timed runs, where the system tells.
        fidelity: Against each other side, in each protocol.
        operators: The slowest kind first.
        operators_note: Why there are none.
        notes: What a reader must know.
        pictures: Not in the JSON.
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
    fidelity: Sequence[PerceptualFidelity] = ()
    operators: Sequence[OperatorTime] = ()
    operators_note: str = ""
    notes: Sequence[str] = ()
    pictures: Sequence[Picture] = field(default=(), repr=False, compare=False)

    @property
    def name(self) -> str:
        """What tells the row from others: "demo_int8.tflite, cpu, 2 threads"."""
        threads = "" if self.threads is None else f", {self.threads} threads"
        where = "" if self.device == "host" else f" on {self.device}"
        return f"{self.model.name}, {self.delegate}{threads}{where}"

    def fidelity_to(self, vs: str, protocol: str = "full") -> PerceptualFidelity | None:
        """Returns the fidelity to "full_model" or "ground_truth", if it was measured."""
        for found in self.fidelity:
            if (found.vs, found.protocol) == (vs, protocol):
                return found
        return None


@dataclass(frozen=True)
class Pair:
    """Two models that took turns.

    Attributes:
        first, second: Names of their rows.
        latency_ratio: Of the first's run time to the second's.
        turns: Of each, in all rounds.
        rounds: Of fresh processes.
    """

    first: str
    second: str
    latency_ratio: Ratio
    turns: int
    rounds: int


@dataclass(frozen=True)
class Report:
    """A whole run.

    Attributes:
        created: ISO 8601, UTC.
        environment: The machine that ran, or the phone: see `bokeh_bench.machine`.
        rows: In the order in which they were measured.
        pair: If two models took turns.
        interrupted: Whether rows are missing.
    """

    created: str
    environment: Mapping[str, Any]
    rows: Sequence[Row]
    pair: Pair | None = None
    interrupted: bool = False

    def to_data(self) -> dict[str, Any]:
        """Returns JSON data.

        Of two identical pictures `psnr_db` is None and `identical` True; `psnr_db_mean`,
        `psnr_db_pooled` and `psnr_db_worst` are None only if `identical_images` counts all images.
        A percentile of the run times is None where there are too few runs to tell it.
        """
        return {
            "schema": SCHEMA,
            "created": self.created,
            "environment": dict(self.environment),
            "interrupted": self.interrupted,
            "rows": [_row(row) for row in self.rows],
            "pair": None if self.pair is None else asdict(self.pair),
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
        "fidelity": [_fidelity(found) for found in row.fidelity],
        "operators": [asdict(operator) for operator in row.operators],
        "operators_note": row.operators_note,
        "notes": list(row.notes),
    }


def _latency(latency: Latency) -> dict[str, Any]:
    return {
        "load_ms": round(latency.load_ms, 3),
        "first_inference_ms": round(latency.first_inference_ms, 3),
        "warm_up_runs": latency.warm_up_runs,
        "latency_ms": round(latency.median_ms, 4),
        "p90_ms": _rounded(latency.tail_ms(90)),
        "p99_ms": _rounded(latency.tail_ms(99)),
        "iqr_ms": round(latency.iqr_ms, 4),
        "drift": round(latency.drift, 4),
        "runs_ms": [round(ms, 4) for ms in latency.runs_ms],
    }


def _rounded(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds, 4)


def _fidelity(fidelity: PerceptualFidelity) -> dict[str, Any]:
    ms_ssim = fidelity.ms_ssim_mean
    return {
        "vs": fidelity.vs,
        "protocol": fidelity.protocol,
        "border_px": PROTOCOLS[fidelity.protocol],
        "peak": 1.0,
        "psnr_db_mean": finite_db(fidelity.psnr_db_mean),
        "psnr_db_pooled": finite_db(fidelity.psnr_db_pooled),
        "psnr_db_worst": finite_db(fidelity.psnr_db_worst),
        "identical_images": fidelity.psnr.identical_images,
        "ssim_mean": round(fidelity.ssim_mean, 6),
        "ms_ssim_mean": None if ms_ssim is None else round(ms_ssim, 6),
        "flip_mean": round(fidelity.flip_mean, 6),
        "images": [_image(image) for image in fidelity.images],
    }


def _image(image: PerceptualImageFidelity) -> dict[str, Any]:
    return {
        "name": image.name,
        "psnr_db": finite_db(image.psnr_db),
        "ssim": image.ssim,
        "ms_ssim": image.ms_ssim,
        "flip": image.flip,
        "identical": image.psnr_db == math.inf,
    }
