"""Limits on quality and cost, as the arguments of a conversion ask for them."""

from __future__ import annotations

from bokeh_convert.options import ConvertOptions
from bokeh_convert.quantize.search_constraints import (
    DEFAULT_MAX_GRAIN,
    DEFAULT_MIN_PSNR_DB,
    SearchConstraints,
)
from bokeh_convert.verify.verification import FidelityLimits


def search_constraints(options: ConvertOptions) -> SearchConstraints:
    """Returns the limits on quality and cost for the mixed-precision search."""
    min_psnr_db = DEFAULT_MIN_PSNR_DB if options.min_psnr_db is None else options.min_psnr_db
    max_grain = DEFAULT_MAX_GRAIN if options.max_grain is None else options.max_grain
    return SearchConstraints(min_psnr_db, options.max_latency, options.min_psnr_db_worst, max_grain)


def asked_limits(options: ConvertOptions) -> FidelityLimits:
    """Returns the limits on the fidelity of any file; without arguments, there are none."""
    no_mean_limit = options.min_psnr_db is None
    worst_limit_db = search_constraints(options).worst_limit_db
    worst_db = options.min_psnr_db_worst if no_mean_limit else worst_limit_db
    return FidelityLimits(options.min_psnr_db, worst_db, options.metric_limits)
