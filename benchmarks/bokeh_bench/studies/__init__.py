"""Comparisons behind the documentation's tables, each run by hand."""
