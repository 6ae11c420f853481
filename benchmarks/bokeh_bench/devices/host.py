"""This machine, each case in a separate process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from bokeh_bench.devices import DEFAULT_DEVICE, Device

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
    from bokeh_bench.measure.host import Settings, measure, measure_interleaved
    from bokeh_bench.measure.references import GroundTruth

    dataset, targets = options.dataset, options.targets
    settings = Settings(
        runs=options.runs,
        seconds=options.seconds,
        full_model=full_model,
        ground_truth=None if dataset is None else GroundTruth(dataset, targets),
        time_operators=not options.no_operators,
        interpreter=options.interpreter,
        delegate_library=options.delegate_library,
        allow_partial=options.allow_partial,
        timeout_seconds=options.timeout,
    )
    cases = options.cases()
    if options.pair:
        rows, comparison = measure_interleaved(cases[0], cases[-1], settings, progress)
        yield replace(report, rows=rows, paired_comparison=comparison)
        return
    for row in measure(cases, settings, progress):
        report = replace(report, rows=[*report.rows, row])
        yield report


DEVICE = Device(DEFAULT_DEVICE, "this machine", _measure, takes_dataset=True, takes_pair=True)
