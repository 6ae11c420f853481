"""Converts a trained bokeh network to .tflite files and verifies their output."""

from bokeh_convert.api import Conversion, convert, demo_model

__all__ = ["Conversion", "convert", "demo_model"]
