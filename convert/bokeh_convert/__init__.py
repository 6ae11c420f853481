"""Converts a trained bokeh network to .tflite and proves that it still draws the same picture."""

from bokeh_convert.api import Conversion, convert, demo_model

__all__ = ["Conversion", "convert", "demo_model"]
