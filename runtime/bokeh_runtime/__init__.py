"""Renders photos with bokeh networks in .tflite files. Needs no TensorFlow."""

from bokeh_runtime.backends.delegates import Probe, probe
from bokeh_runtime.backends.interpreter import TfliteModel
from bokeh_runtime.backends.placement import Placement
from bokeh_runtime.errors import HardwareError, InputError
from bokeh_runtime.imaging.photo import Photo, open_photo, read_photo, save_photo, write_photo
from bokeh_runtime.imaging.resample import fit
from bokeh_runtime.metrics.psnr import psnr
from bokeh_runtime.model import BokehModel, Rendering
from bokeh_runtime.tflite.metadata import ModelMetadata, read_metadata
from bokeh_runtime.version import __version__

__all__ = [
    "BokehModel",
    "HardwareError",
    "InputError",
    "ModelMetadata",
    "Photo",
    "Placement",
    "Probe",
    "Rendering",
    "TfliteModel",
    "__version__",
    "fit",
    "open_photo",
    "probe",
    "psnr",
    "read_metadata",
    "read_photo",
    "save_photo",
    "write_photo",
]
