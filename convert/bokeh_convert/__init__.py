"""Converts a trained bokeh network to .tflite files and verifies their output."""

from bokeh_convert.api import Conversion, convert, demo_model
from bokeh_runtime.version import __version__

__all__ = ["Conversion", "__version__", "convert", "demo_model"]
