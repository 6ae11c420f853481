"""Converts a trained bokeh network to .tflite and proves that it still draws the same picture."""

import os

# Before the first import of Keras: lowering a model needs its TensorFlow backend. Training runs on
# any backend, so one that the user chose stays.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

from bokeh_convert.api import Conversion, convert, demo_model

__all__ = ["Conversion", "convert", "demo_model"]
