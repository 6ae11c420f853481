"""The rule by which a GPU's output is judged, the same in Kotlin (`GpuVerdict.kt`).

The GPU is compared with the CPU on the same file and the same input: that alone shows what the GPU
changes. Distance from the full model alone is no test, since it mixes the GPU's error with that of
the conversion; it decides only where both differ because the file is quantized: GPUs compute such
files in float, so their output may differ from the CPU's and be as close to the full model, or
closer. Whatever is missing, not finite or not proven is refused.

Thresholds are in `contract/constants.json`, cases with their verdicts in
`contract/vectors/gpu_check.json`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from bokeh_runtime.contract.constants import GPU_CHECK, GpuCheck


class Verdict(Enum):
    """What a GPU's output is; the values are the contract's names."""

    SAME = "same"
    """As the CPU's."""
    AS_GOOD = "as_good"
    """Another than the CPU's, and about as close to the full model, or closer."""
    WRONG = "wrong"
    NOT_FINITE = "not_finite"
    IDENTICAL = "identical"
    """The CPU's bit for bit, where a GPU would round otherwise: it did not run there."""
    PARTIAL = "partial"
    """The GPU does not run the whole model, and that was not allowed; or it runs nothing."""
    NO_EVIDENCE = "no_evidence"
    """There is nothing to compare with."""

    @property
    def accepted(self) -> bool:
        """Whether the GPU may be used as it is."""
        return self in (Verdict.SAME, Verdict.AS_GOOD)

    @property
    def retry_in_float32(self) -> bool:
        """Whether half precision may be the cause."""
        return self in (Verdict.WRONG, Verdict.NOT_FINITE)


@dataclass(frozen=True)
class Evidence:
    """What is known of a GPU's output for one input.

    Distances are PSNR in dB of values clipped to 0 to 1, peak 1, without a border crop; None where
    there is nothing to compare with.

    Attributes:
        finite: The output holds neither NaN nor infinity.
        identical: It is the CPU's bit for bit, before clipping.
        gpu_vs_cpu_db: From the CPU's output for the same file and input, which is finite.
        gpu_vs_full_model_db: From the full model's output for the same input.
        cpu_vs_full_model_db: The CPU's, from the same.
        float_sums: The file has convolutions, which the device computes in floats: summed in
            another order they are rounded otherwise.
        delegated_ops: Operators that the device runs; None where it does not tell.
        total_ops: Operators of the file.
        allow_partial: The CPU may run a part.
    """

    finite: bool
    identical: bool
    gpu_vs_cpu_db: float | None
    gpu_vs_full_model_db: float | None
    cpu_vs_full_model_db: float | None
    float_sums: bool
    delegated_ops: int | None
    total_ops: int
    allow_partial: bool


def judge(evidence: Evidence, limits: GpuCheck = GPU_CHECK) -> Verdict:
    """Returns the verdict on a GPU's output; the first rule that applies decides."""
    delegated, total = evidence.delegated_ops, evidence.total_ops
    if delegated == 0 or (delegated != total and not evidence.allow_partial):
        return Verdict.PARTIAL
    if not evidence.finite:
        return Verdict.NOT_FINITE
    distance = evidence.gpu_vs_cpu_db
    if distance is None or math.isnan(distance):
        return Verdict.NO_EVIDENCE
    # Of a part that is known, all convolutions may be the CPU's.
    known_part = delegated is not None and delegated < total
    if evidence.identical and evidence.float_sums and not known_part:
        return Verdict.IDENTICAL
    if distance >= limits.same_picture_db:
        return Verdict.SAME
    gpu, cpu = evidence.gpu_vs_full_model_db, evidence.cpu_vs_full_model_db
    # A comparison with NaN is false.
    as_good = (
        gpu is not None
        and cpu is not None
        and gpu >= limits.full_model_floor_db
        and gpu >= cpu - limits.full_model_margin_db
    )
    return Verdict.AS_GOOD if as_good else Verdict.WRONG
