"""A phone with the sample app, over adb."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
    from bokeh_bench.devices.android.measure import measure_android

    yield from measure_android(
        report,
        options.cases(),
        options.runs,
        options.seconds,
        full_model,
        options.device_argument,
        progress,
        options.timeout,
    )


DEVICE = Device(
    "android",
    "a phone with the sample app, over adb",
    _measure,
    argument="SERIAL",
    unused=OF_THIS_INTERPRETER,
)
