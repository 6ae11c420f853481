"""The options of `bokeh-bench` that limit regressions of metrics, such as --max-grain-increase.

There is one for each metric of `bokeh_runtime.metrics`, besides --max-psnr-drop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from bokeh_runtime.finite_range import FiniteRange
from bokeh_runtime.metrics.registry import Metric, all_metrics

_Function = TypeVar("_Function", bound=Callable[..., Any])


def option_name(metric: Metric) -> str:
    """Returns the option that limits by how much a metric may get worse."""
    change = "drop" if metric.higher_is_better else "increase"
    return f"--max-{metric.key.replace('_', '-')}-{change}"


def metric_limit_options(function: _Function) -> _Function:
    """Adds an option for each metric to the function of a command."""
    for metric in reversed(all_metrics()):
        change = "decrease" if metric.higher_is_better else "increase"
        function = click.option(
            option_name(metric),
            _parameter(metric),
            metavar="X",
            type=FiniteRange(min=0),
            help=f"Largest allowed {change} of the mean and the worst {metric.label}, such as "
            f"{metric.example_tolerance:g}. Needs --compare.",
        )(function)
    return function


def metric_limits(parameters: Mapping[str, Any]) -> dict[str, float]:
    """Returns the given limits by the keys of the metrics.

    Args:
        parameters: All parameters of the command, by their names in Python.
    """
    given = {metric.key: parameters[_parameter(metric)] for metric in all_metrics()}
    return {key: limit for key, limit in given.items() if limit is not None}


def without_metric_limits(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the parameters of the command that do not belong to a metric."""
    names = {_parameter(metric) for metric in all_metrics()}
    return {name: value for name, value in parameters.items() if name not in names}


def _parameter(metric: Metric) -> str:
    return f"limit_of_{metric.key}"
