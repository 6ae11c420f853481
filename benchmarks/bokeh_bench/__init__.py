"""Measures how fast and how faithful converted bokeh models are."""

from bokeh_runtime.version import __version__

__all__ = ["__version__"]
