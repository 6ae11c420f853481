"""Compares a metric's values in a report with those in an older one, image by image."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping
from typing import Any

from bokeh_bench.metric_options import option_name
from bokeh_runtime.metrics.registry import Metric


def metric_regressions(
    metric: Metric, before: Mapping[str, Any], now: Mapping[str, Any], allowed: float
) -> Iterator[str]:
    """Yields by how much the mean and the worst value got worse, or why they cannot be compared.

    Args:
        metric: The metric.
        before: An entry of `fidelity` in the older report.
        now: The entry for the same reference and protocol in the new report.
        allowed: Largest change for the worse, in the metric's own scale.
    """
    old, new = _by_image(metric, before), _by_image(metric, now)
    for images, which in ((old, "older"), (new, "new")):
        if images is None:
            yield (
                f"not comparable: an image has no {metric.label} in the {which} report; run "
                f"bokeh-bench of this version again, or omit {option_name(metric)}"
            )
            return
    assert old is not None
    assert new is not None
    if [(name, value is None) for name, value in old] != [
        (name, value is None) for name, value in new
    ]:
        yield "not comparable: the images differ from before; measure both on the same images"
        return
    old_values, new_values = (
        [value for _, value in images if value is not None] for images in (old, new)
    )
    if not old_values:
        yield (
            f"not comparable: every image has {metric.undefined_for}; omit {option_name(metric)}"
        )
        return
    change = "drop" if metric.higher_is_better else "increase"
    for name, of in (("mean", statistics.fmean), ("worst", metric.worst)):
        old_value, new_value = of(old_values), of(new_values)
        if not metric.worsening(old_value, new_value) <= allowed:
            yield (
                f"{name} {metric.text(old_value)} to {metric.text(new_value)} "
                f"(allowed {change}: {allowed:g})"
            )


def finite_number(value: Any) -> float | None:
    """Returns a value of a JSON file as a float; None if it is not a finite number."""
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def _by_image(metric: Metric, fidelity: Mapping[str, Any]) -> list[tuple[str, float | None]] | None:
    """Returns each image's name and value; None if the metric was not computed for an image.

    A value is None where the metric is not defined: reports have null there.
    """
    found: list[tuple[str, float | None]] = []
    for image in fidelity.get("images") or ():
        value = image.get(metric.key, math.nan)
        number = finite_number(value)
        if number is None and value is not None:
            return None
        found.append((str(image.get("name")), number))
    return found or None
