"""What a quality metric tells about itself, and the metrics that there are.

A metric is one module of this package with a `METRIC`. It is found by itself: `fidelity` computes
it, and reports, tables and limits show it as it says here. Packages that are not dependencies of
the runtime are imported inside of its function. PSNR is not among them, because it has statistics
of its own: see `bokeh_runtime.metrics.psnr`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import bokeh_runtime.metrics
from bokeh_runtime.discovery import modules_in
from bokeh_runtime.errors import InputError

if TYPE_CHECKING:
    from bokeh_runtime.imaging.photo import FloatImage


@dataclass(frozen=True)
class Metric:
    """A measure of how an image differs from its reference.

    Attributes:
        key: Name in JSON: `key` for each image, `key_mean` and `key_worst` for all of them.
        label: Heading in tables, and name in messages.
        compute: Computes it for an image and its reference, both float32 [height, width, 3] in
            [0, 1] and of the same shape. Returns None for images that it is not defined for.
        higher_is_better: Whether larger values are better.
        text_format: How a table shows a value, such as "{:.4f}".
        extra: The package's extra that it needs; None if the runtime's dependencies are enough.
        in_conversions: Whether it is in conversion reports; it is in every benchmark report.
        in_metadata: Whether its mean is in the metadata of .tflite files. New metrics are not:
            these files stay bit-identical.
        in_tables: Whether tables show it.
        has_worst: Whether the value of the worst image is shown, too.
        limit: A converted file fails if the value of its worst photo is worse; None for no limit.
        order: Its place among the metrics, from small to large.
        example_tolerance: A change for the worse that a comparison of two runs may well allow, as
            an example in the help.
        undefined_for: Which images it is not defined for, such as "a side under 176 px".
        explanation: What its values mean, in a sentence for reports; "" if its name says it.
    """

    key: str
    label: str
    compute: Callable[[FloatImage, FloatImage], float | None]
    higher_is_better: bool
    text_format: str = "{:.4f}"
    extra: str | None = None
    in_conversions: bool = True
    in_metadata: bool = False
    in_tables: bool = True
    has_worst: bool = False
    limit: float | None = None
    order: int = 100
    example_tolerance: float = 0.001
    undefined_for: str = "too small"
    explanation: str = ""

    def worst(self, values: Sequence[float]) -> float:
        """Returns the worst of several values."""
        return min(values) if self.higher_is_better else max(values)

    def meets(self, limit: float, value: float) -> bool:
        """Whether a value is at least as good as a limit; NaN is not."""
        return value >= limit if self.higher_is_better else value <= limit

    def worsening(self, before: float, now: float) -> float:
        """Returns by how much a value got worse; below 0 if it got better."""
        return before - now if self.higher_is_better else now - before

    def coverage_note(self, values: Sequence[float | None]) -> str | None:
        """Returns how many images have no value, and why; None if all have one.

        Args:
            values: The value of each image; None where the metric is not defined.
        """
        missing = sum(value is None for value in values)
        if not missing:
            return None
        count = f"{missing} of {len(values)} {'image' if len(values) == 1 else 'images'}"
        return (
            f"{self.label}: {count} {'is' if missing == 1 else 'are'} not counted "
            f"({self.undefined_for})"
        )

    def text(self, value: float | None) -> str:
        """Returns a value as tables show it: "-" if there is none."""
        return "-" if value is None else self.text_format.format(value)

    def missing(self, package: str) -> InputError:
        """Returns the error for a package that is not installed."""
        return InputError(
            f"{self.label}: {package} is not installed; "
            f"run: pip install 'bokeh-tflite[{self.extra}]'"
        )


def all_metrics() -> list[Metric]:
    """Returns the metrics of this package in the order of the tables."""
    modules = modules_in(bokeh_runtime.metrics.__name__, bokeh_runtime.metrics.__path__)
    found = [getattr(module, "METRIC", None) for module in modules]
    metrics = [metric for metric in found if isinstance(metric, Metric)]
    return sorted(metrics, key=lambda metric: (metric.order, metric.key))


def conversion_metrics() -> list[Metric]:
    """Returns the metrics that a conversion measures."""
    return [metric for metric in all_metrics() if metric.in_conversions]
