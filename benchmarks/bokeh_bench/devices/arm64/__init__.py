"""A phone's CPU kernels without a phone: XNNPACK's ARM kernels under QEMU.

LiteRT's aarch64 build runs in QEMU's user mode as on one of the CPUs of `profiles`. Outputs are
computed by the same kernels as on a phone, and instructions can be counted. Times under QEMU are
meaningless and are not reported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from bokeh_bench.devices import OF_THIS_INTERPRETER, Device

if TYPE_CHECKING:
    from bokeh_bench.measure.references import FullModelReferences
    from bokeh_bench.measure.rows import Report
    from bokeh_bench.options import Options


def _measure(
    options: Options,
    report: Report,
    full_model: FullModelReferences,
    progress: Callable[[str], None],
) -> Iterator[Report]:
    from bokeh_bench.devices.arm64.profiles import find_profile
    from bokeh_bench.devices.arm64.rows import measure_arm64

    rows = measure_arm64(
        options.model_paths,
        full_model,
        progress,
        profile=find_profile(options.device_argument),
        seconds=options.timeout,
    )
    for row in rows:
        report = replace(report, rows=[*report.rows, row])
        yield report


DEVICE = Device(
    "arm64",
    "a phone's CPU kernels under QEMU: fidelity and instructions, no latency",
    _measure,
    argument="PROFILE",
    unused=("--delegate", "--threads", "--runs", "--seconds", *OF_THIS_INTERPRETER),
)
