"""Phones and computers with a browser: LiteRT.js in a page that this machine serves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bokeh_bench.devices import OF_THIS_INTERPRETER, Device, Progress

if TYPE_CHECKING:
    from bokeh_bench.measure.references import FullModelReferences
    from bokeh_bench.measure.rows import Report
    from bokeh_bench.options import Options


def _measure(
    options: Options,
    report: Report,
    full_model: FullModelReferences,
    progress: Progress,
) -> Iterator[Report]:
    from bokeh_bench.devices.web.measure import measure_in_browsers

    yield from measure_in_browsers(options, report, full_model, progress)


DEVICE = Device(
    "web",
    "COUNT phones or computers with a browser (1), which open a page from this machine",
    _measure,
    argument="COUNT",
    serves_pages=True,
    unused=OF_THIS_INTERPRETER,
)
