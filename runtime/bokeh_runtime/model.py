"""The library interface: opens a bokeh model and renders photos with it."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
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
from bokeh_runtime.imaging.luminance import luminance, with_chroma
from bokeh_runtime.imaging.photo import FloatImage, Pixels, from_unit
from bokeh_runtime.imaging.resample import Frame, scale
from bokeh_runtime.range_note import range_note
from bokeh_runtime.shipped_models import shipped_model
from bokeh_runtime.tflite.file import Tensor, TfliteFile, read_tflite
from bokeh_runtime.tflite.metadata import CHANNELS, ModelMetadata, metadata_of
from bokeh_runtime.tflite.value_range import ValueRange

_CHANNELS = {1: "luminance", 3: "RGB", 4: "RGB and depth"}


@dataclass(frozen=True)
class Rendering:
    """A rendered photo.

    Attributes:
        pixels: [height, width, 3] RGB, with the dtype and range of the photo. The size is that of
            the photo, or of the network's output with `network_resolution`.
        timings: Duration of each stage in milliseconds: `prepare_ms`, `infer_ms`, `fuse_ms`.
        placement: Where the network ran.
        notes: Notes for the user, one line each.
    """

    pixels: Pixels
    timings: Mapping[str, float]
    placement: Placement
    notes: tuple[str, ...] = ()


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
        input_shape: Height and width in pixels, and number of channels: 3 (RGB), 4 (RGB and
            depth) or 1 (luminance; the chroma of the photo is kept).
        ranges: Value ranges of the network's input and output.
        signature: Name of the signature that runs; "" if the file has one or none.
        notes: Notes for the user, one line each.
    """

    def __init__(self, file: TfliteFile, options: EngineOptions) -> None:
        self.path = file.path
        self.sha256 = file.sha256
        self.metadata = metadata_of(file)
        file = options.graph_of(file)
        self.input_shape = input_image_shape(file)
        self._resampling = self.metadata.resampling if self.metadata else "area"
        _check_agreement(file, self.metadata, self.input_shape)
        self.ranges = options.ranges_of(file)
        self.signature = file.signature
        self.engine = open_engine(file, options)
        self._lock, self._closed = threading.Lock(), False
        self.placement = self.engine.placement
        self.notes = list(self.placement.notes)
        if self.metadata is None:
            self.notes.append(
                f"{file.path}: has no metadata; taken as {_CHANNELS[self.channels]} in "
                f"{self.ranges.input}, with an output in {self.ranges.output}"
            )
        if file.resized_to is not None:
            height, width = file.resized_to
            self.notes.append(f"{file.path}: its input is resized to {height} x {width}")

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
        input_range: str | None = None,
        output_range: str | None = None,
        signature: str | None = None,
        size: tuple[int, int] | None = None,
    ) -> BokehModel:
        """Opens the .tflite file of an image-to-image network.

        Args:
            path: Path of the file. None opens the demo model that ships with the package.
            delegate: "auto", "cpu", "gpu", "nnapi" or "npu".
            threads: Number of CPU threads. None uses all cores.
            interpreter: "ai-edge-litert" or "tflite-runtime". None uses the first that is
                installed.
            delegate_library: Shared library of an external delegate, or for "npu" a vendor's
                dispatch library, libLiteRtDispatch_VENDOR.so.
            allow_partial: Whether the CPU may run operators that the delegate does not support.
            input_range: Values of black and white in the network's input, as "LOW..HIGH", such as
                "-1..1". None goes by the file: its metadata, or how integers are quantized.
            output_range: The same for the network's output.
            signature: Name of the signature to run, for a file with several.
            size: Height and width in pixels at which to run a file whose input size is open. Only
                the CPU resizes.

        Raises:
            InputError: If the file is missing, damaged, or does not map one image to one image; or
                if its signature or its input size must be given, or the given one is wrong.
            HardwareError: If the delegate is not available or does not support the whole model.
        """
        options = EngineOptions(
            delegate,
            threads,
            interpreter,
            None if delegate_library is None else Path(delegate_library),
            allow_partial,
            ValueRange.of_argument("input_range", input_range),
            ValueRange.of_argument("output_range", output_range),
            signature,
            size,
        )
        return cls(read_tflite(shipped_model() if path is None else Path(path)), options)

    @property
    def channels(self) -> int:
        """Number of channels of the input."""
        return self.input_shape[2]

    @property
    def takes_depth(self) -> bool:
        """Whether the network needs a depth map."""
        return self.channels == 4

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
        tensor = frame.pad(self._tensor(network_input, depth), network)
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
        note = None
        if self.metadata is None:
            note = range_note([(network_input, network_output)], self.ranges)
        if self.channels == 1:
            network_output = with_chroma(network_output, network_input)
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
        timings = {k: v * 1000 for k, v in stages.items()}
        return Rendering(result, timings, self.placement, () if note is None else (note,))

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

    def _tensor(self, network_input: FloatImage, depth: FloatImage | None) -> FloatImage:
        self.check_depth(given=depth is not None)
        if depth is None:
            return luminance(network_input) if self.channels == 1 else network_input
        if not np.isfinite(depth).all():
            raise InputError("the depth map contains NaN or infinity; give finite values")
        height, width = network_input.shape[:2]
        return np.concatenate([network_input, resize_depth(depth, height, width)], axis=2)


def input_image_shape(file: TfliteFile) -> tuple[int, int, int]:
    """Returns the input shape of an image-to-image network.

    Args:
        file: A file whose graph was chosen; see `EngineOptions.graph_of`.

    Returns:
        Height and width in pixels, and number of channels (1, 3 or 4).

    Raises:
        InputError: If the file is not such a network, or has several image outputs.
    """
    if len(file.inputs) == 1:
        input_tensor = file.tensors[file.inputs[0]]
        result = file.tensors[file.outputs[file.image_output_index]]
        supported = {input_tensor.dtype, result.dtype} <= {"float32", "int8", "uint8", "int16"}
        if len(input_tensor.shape) == 4 and supported:
            batch, height, width, channels = input_tensor.shape
            if batch == 1 and channels in CHANNELS and _is_image_of(input_tensor, result, file):
                return height, width, channels
    shapes = " to ".join(
        " and ".join(str(list(file.tensors[i].shape)) for i in side)
        for side in (file.inputs, file.outputs)
    )
    raise InputError(
        f"{file.path}: does not map one image to one image ({shapes}); give a network with input "
        "[1, height, width, 3 or 4] and output [1, height, width, 3], or 1 channel in both"
    )


def _is_image_of(input_tensor: Tensor, output: Tensor, file: TfliteFile) -> bool:
    if len(output.shape) != 4:
        return False
    wanted = 1 if input_tensor.shape[3] == 1 else 3
    if file.resized_to is not None:  # its size is not known before it runs
        return output.shape[3] == wanted or output.is_open(3)
    _, height, width, channels = output.shape
    factor = height / max(1, input_tensor.shape[1])
    same_aspect = width == round(input_tensor.shape[2] * factor) and height > 0
    return channels == wanted and same_aspect


def _check_agreement(
    file: TfliteFile, metadata: ModelMetadata | None, shape: tuple[int, int, int]
) -> None:
    if metadata is None:
        return
    described = (
        metadata.input_height,
        metadata.input_width,
        metadata.input_channels,
    )
    if described != (*shape[:2], CHANNELS[shape[2]]):
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
