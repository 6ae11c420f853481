"""Converts a trained bokeh network to .tflite and proves that it still draws the same picture."""

from bokeh_convert.api import Conversion, convert, demo_model
from bokeh_runtime.version import __version__

__all__ = ["Conversion", "__version__", "convert", "demo_model"]
