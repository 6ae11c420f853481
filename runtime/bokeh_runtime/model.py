"""The library interface: opens a bokeh model and renders photos with it."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from bokeh_runtime.backends.delegates import EngineOptions, open_engine
from bokeh_runtime.backends.placement import Placement
from bokeh_runtime.errors import Argument, InputError
from bokeh_runtime.imaging.depth import resize_depth
from bokeh_runtime.imaging.detail_fusion import fuse_detail
from bokeh_runtime.imaging.photo import FloatImage, Pixels, from_unit
from bokeh_runtime.imaging.resample import Frame, scale
from bokeh_runtime.tflite.file import TfliteFile, read_tflite
from bokeh_runtime.tflite.metadata import ModelMetadata, metadata_of

SHIPPED_MODEL = "demo_pynet_float16.tflite"


@dataclass(frozen=True)
class Rendering:
    """A rendered photo.

    Attributes:
        pixels: [height, width, 3] RGB, with the dtype and range of the photo. The size is that of
            the photo, or of the network's output with `network_resolution`.
        timings: Duration of each stage in milliseconds: `prepare_ms`, `infer_ms`, `fuse_ms`.
        placement: Where the network ran.
    """

    pixels: Pixels
    timings: Mapping[str, float]
    placement: Placement


class BokehModel:
    """A bokeh network that is ready to render. Thread-safe: inferences run one after the other.

        with BokehModel.open("model_int8.tflite") as model:
            rendering = model.render(photo)

    Attributes:
        path: Path of the .tflite file.
        sha256: Hash of the file, in hex.
        metadata: Metadata of the file. None if bokeh-convert did not write the file.
        engine: Runs the network alone, from input tensor to output tensor.
        placement: Where the network runs.
        input_shape: Height and width in pixels, and number of channels: 3 (RGB) or 4 (RGB and
            depth).
        notes: Notes for the user, one line each.
    """

    def __init__(self, file: TfliteFile, options: EngineOptions) -> None:
        self.path = file.path
        self.sha256 = file.sha256
        self.metadata = metadata_of(file)
        self.input_shape = input_image_shape(file)
        self._resampling = self.metadata.resampling if self.metadata else "area"
        _check_agreement(file, self.metadata, self.input_shape)
        self.engine = open_engine(file, options)
        self._lock, self._closed = threading.Lock(), False
        self.placement = self.engine.placement
        self.notes = list(self.placement.notes)
        if self.metadata is None:
            self.notes.append(
                f"{file.path}: has no metadata; input and output are taken as RGB in [0, 1]"
            )

    @classmethod
    def open(
        cls,
        path: str | Path | None = None,
        delegate: str = "auto",
        *,
        threads: int | None = None,
        interpreter: str | None = None,
        delegate_library: str | Path | None = None,
        allow_partial: bool = False,
    ) -> BokehModel:
        """Opens the .tflite file of an image-to-image network.

        Args:
            path: Path of the file. None opens the demo model that ships with the package.
            delegate: "auto", "cpu", "gpu", "nnapi" or "npu".
            threads: Number of CPU threads. None uses all cores.
            interpreter: "ai-edge-litert" or "tflite-runtime". None uses the first that is
                installed.
            delegate_library: Shared library of an external delegate.
            allow_partial: Whether the CPU may run operators that the delegate does not support.

        Raises:
            InputError: If the file is missing, damaged, or does not map one image to one image.
            HardwareError: If the delegate is not available or does not support the whole model.
        """
        options = EngineOptions(
            delegate,
            threads,
            interpreter,
            None if delegate_library is None else Path(delegate_library),
            allow_partial,
        )
        return cls(read_tflite(shipped_model() if path is None else Path(path)), options)

    @property
    def takes_depth(self) -> bool:
        """Whether the network needs a depth map."""
        return self.input_shape[2] == 4

    def render(
        self,
        image: npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | FloatImage,
        depth: FloatImage | None = None,
        *,
        strength: float = 1.0,
        network_resolution: bool = False,
        in_place: bool = False,
    ) -> Rendering:
        """Renders a photo with a shallow depth of field.

        Args:
            image: [height, width, 3], RGB, upright: uint8, uint16, or float32 in [0, 1].
            depth: Inverse depth (near is 1) of the whole photo, float [any height, any width, 1] in
                [0, 1]. Required by models that take depth, and not allowed for others.
            strength: Weight of the network's output in the result, 0 (the photo) to 1.
            network_resolution: Whether to return the network's output at its own resolution.
            in_place: Whether to write the result into `image`, which saves memory. Has no effect
                for float32 images.

        Raises:
            InputError: If an argument has another shape, dtype or range, is not finite, or a depth
                map is missing or not allowed; if the network's output is not finite; or if the
                model is closed.
            HardwareError: If the delegate fails.
        """
        pixels = _checked(image)
        if not 0 <= strength <= 1:
            raise InputError(Argument("strength", strength), ": must be between 0 and 1")
        start = time.perf_counter()
        network = self.input_shape[:2]
        frame = Frame.within((pixels.shape[0], pixels.shape[1]), network)
        network_input = scale(pixels, frame.height, frame.width, self._resampling)
        tensor = frame.pad(self._with_depth(network_input, depth), network)
        prepared = time.perf_counter()
        with self._lock:
            if self._closed:
                raise InputError(f"{self.path}: is closed; open it again")
            output = self.engine.run(tensor)
        inferred = time.perf_counter()
        # Checked before the output is clipped and cropped, since infinity would become white.
        if not np.isfinite(output).all():
            raise InputError(f"{self.path}: outputs NaN or infinity; convert it again")
        network_output = np.clip(frame.scaled(output.shape[0] / network[0]).crop(output), 0, 1)
        if network_resolution:
            if strength < 1:
                resized_photo = (
                    scale(pixels, *network_output.shape[:2])
                    if network_output.shape != network_input.shape
                    else network_input
                )
                network_output = strength * network_output + (1 - strength) * resized_photo
            result = from_unit(network_output, pixels.dtype)
        else:
            out = pixels if in_place else None
            result = fuse_detail(pixels, network_output, network_input, strength=strength, out=out)
        end = time.perf_counter()
        if image.dtype.kind == "f":
            result = (result / np.float32(65535)).astype(np.float32)
        stages = {
            "prepare_ms": prepared - start,
            "infer_ms": inferred - prepared,
            "fuse_ms": end - inferred,
        }
        return Rendering(result, {k: v * 1000 for k, v in stages.items()}, self.placement)

    def close(self) -> None:
        """Releases the device. The model cannot render afterwards."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self.engine.close()

    def __enter__(self) -> BokehModel:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def check_depth(self, *, given: bool) -> None:
        """Checks that a depth map is given if and only if the model takes one.

        Args:
            given: Whether a depth map is given.

        Raises:
            InputError: If a depth map is missing or not allowed.
        """
        if self.takes_depth and not given:
            raise InputError(f"{self.path}: needs a depth map", remedy=("give ", Argument("depth")))
        if given and not self.takes_depth:
            raise InputError(
                f"{self.path}: takes no depth map", remedy=("omit ", Argument("depth"))
            )

    def _with_depth(self, network_input: FloatImage, depth: FloatImage | None) -> FloatImage:
        self.check_depth(given=depth is not None)
        if depth is None:
            return network_input
        if not np.isfinite(depth).all():
            raise InputError("the depth map contains NaN or infinity; give finite values")
        height, width = network_input.shape[:2]
        return np.concatenate([network_input, resize_depth(depth, height, width)], axis=2)


def shipped_model(name: str = SHIPPED_MODEL) -> Path:
    """Returns the path of a model that ships with the package."""
    return Path(str(files("bokeh_runtime") / "models" / name))


def input_image_shape(file: TfliteFile) -> tuple[int, int, int]:
    """Returns the input shape of an image-to-image network.

    Returns:
        Height and width in pixels, and number of channels (3 or 4).

    Raises:
        InputError: If the file is not such a network, or has several graphs or image outputs.
    """
    if len(file.signatures) > 1:
        raise InputError(
            f"{file.path}: has several signatures, {' and '.join(file.signatures)}; "
            "export only the one to run"
        )
    if len(file.inputs) == 1:
        input_tensor = file.tensors[file.inputs[0]]
        result = file.tensors[file.outputs[file.image_output_index]]
        supported = {input_tensor.dtype, result.dtype} <= {"float32", "int8", "uint8", "int16"}
        if len(input_tensor.shape) == 4 and len(result.shape) == 4 and supported:
            batch, height, width, channels = input_tensor.shape
            factor = result.shape[1] / max(1, height)
            same_shape = result.shape[2] == round(width * factor) and result.shape[1] > 0
            if batch == 1 and channels in (3, 4) and result.shape[3] == 3 and same_shape:
                return height, width, channels
    shapes = " to ".join(
        " and ".join(str(list(file.tensors[i].shape)) for i in side)
        for side in (file.inputs, file.outputs)
    )
    raise InputError(
        f"{file.path}: does not map one image to one image ({shapes}); give a network with input "
        "[1, height, width, 3 or 4] and output [1, height, width, 3]"
    )


def _check_agreement(
    file: TfliteFile, metadata: ModelMetadata | None, shape: tuple[int, int, int]
) -> None:
    if metadata is None:
        return
    described = (
        metadata.input_height,
        metadata.input_width,
        {"rgb": 3, "rgbd": 4}.get(metadata.input_channels),
    )
    if described != shape or tuple(metadata.value_range) != (0.0, 1.0):
        raise InputError(
            f"{file.path}: its metadata and its graph contradict each other; convert it again"
        )


def _checked(image: npt.NDArray[Any]) -> Pixels:
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise InputError(f"a photo must be [height, width, 3], not {list(image.shape)}; reshape it")
    if image.dtype == np.float32:
        if not np.isfinite(image).all():
            raise InputError("the photo contains NaN or infinity; give finite values")
        return from_unit(image, np.dtype(np.uint16))
    if image.dtype not in (np.uint8, np.uint16):
        raise InputError(f"a photo must be uint8, uint16 or float32, not {image.dtype}; cast it")
    return np.ascontiguousarray(image)
