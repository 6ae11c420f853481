"""Runs bokeh models: .tflite file and photo in, photo out. Needs no TensorFlow."""

from bokeh_runtime.errors import InputError
from bokeh_runtime.interpreter import TfliteModel
from bokeh_runtime.metadata import ModelMetadata, read_metadata
from bokeh_runtime.photo import fit, open_photo, save_photo
from bokeh_runtime.psnr import psnr

__all__ = [
    "InputError",
    "ModelMetadata",
    "TfliteModel",
    "fit",
    "open_photo",
    "psnr",
    "read_metadata",
    "save_photo",
]
