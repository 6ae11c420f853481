"""The library call: a model, a photo in, a photo out."""

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
    """A finished picture.

    Attributes:
        pixels: [height, width, 3] of the photo's type and size, or of the network's size.
        timings: Milliseconds of each stage: `prepare_ms`, `infer_ms`, `fuse_ms`.
        placement: Where the network ran.
    """

    pixels: Pixels
    timings: Mapping[str, float]
    placement: Placement


class BokehModel:
    """A bokeh network, ready to render. Thread-safe: inferences wait for each other.

        with BokehModel.open("model_int8.tflite") as model:
            rendering = model.render(photo)

    Attributes:
        path: Of the file.
        sha256: Of the file, in hex.
        metadata: What the file says of itself; None if it was not made by bokeh-convert.
        engine: What runs the network alone, from its input tensor to its output tensor.
        placement: Where it runs.
        input_shape: Height and width in pixels, and channels: 3 (RGB) or 4 (RGB + depth).
        notes: What the user should know, in a line each.
    """

    def __init__(self, file: TfliteFile, request: EngineOptions) -> None:
        self.path = file.path
        self.sha256 = file.sha256
        self.metadata = metadata_of(file)
        self.input_shape = input_image_shape(file)
        self._resampling = self.metadata.resampling if self.metadata else "area"
        _check_agreement(file, self.metadata, self.input_shape)
        self.engine = open_engine(file, request)
        self._lock, self._closed = threading.Lock(), False
        self.placement = self.engine.placement
        self.notes = list(self.placement.notes)
        if self.metadata is None:
            self.notes.append(
                f"{file.path}: does not say what it is; taken as RGB in [0, 1] to bokeh in [0, 1]"
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
        """Opens a .tflite file of an image-to-image network.

        Args:
            path: The file; None takes the demo model that ships with the package.
            delegate: "auto", "cpu", "gpu", "nnapi" or "npu".
            threads: Of the CPU; None takes all cores.
            interpreter: "ai-edge-litert" or "tflite-runtime"; None takes the first installed.
            delegate_library: Shared library of an external delegate.
            allow_partial: The CPU may run what the delegate does not take.

        Raises:
            InputError: If the file is missing, damaged, or not from image to image.
            HardwareError: If the delegate is not here, or does not take the whole model.
        """
        request = EngineOptions(
            delegate,
            threads,
            interpreter,
            None if delegate_library is None else Path(delegate_library),
            allow_partial,
        )
        return cls(read_tflite(shipped_model() if path is None else Path(path)), request)

    @property
    def takes_depth(self) -> bool:
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
        """Draws a photo with a shallow depth of field.

        Args:
            image: uint8, uint16 or float32 (in [0, 1]) [height, width, 3], RGB, upright.
            depth: [any height, any width, 1] in [0, 1], inverse depth (near is bright), of the
                whole photo; for models that take depth.
            strength: 1 draws what the network does, 0 the photo, between them their mixture.
            network_resolution: Return the network's own picture instead of one of the photo's size.
            in_place: Write the result into `image`, which saves its memory (not for float32).

        Raises:
            InputError: If the image has another shape or type or is not finite, depth is missing,
                not wanted or not finite, the network's output is not finite, or the model is
                closed.
        """
        pixels = _checked(image)
        if not 0 <= strength <= 1:
            raise InputError(f"strength {strength} is outside 0 to 1")
        start = time.perf_counter()
        network = self.input_shape[:2]
        frame = Frame.within((pixels.shape[0], pixels.shape[1]), network)
        seen = scale(pixels, frame.height, frame.width, self._resampling)
        tensor = frame.pad(self._with_depth(seen, depth), network)
        prepared = time.perf_counter()
        with self._lock:
            if self._closed:
                raise InputError(f"{self.path}: is closed; open it again")
            output = self.engine.run(tensor)
        inferred = time.perf_counter()
        # Before anything is clipped or cut away: infinity would become white.
        if not np.isfinite(output).all():
            raise InputError(f"{self.path}: draws NaN or infinity; convert it again")
        drawn = np.clip(frame.scaled(output.shape[0] / network[0]).crop(output), 0, 1)
        if network_resolution:
            if strength < 1:
                own = scale(pixels, *drawn.shape[:2]) if drawn.shape != seen.shape else seen
                drawn = strength * drawn + (1 - strength) * own
            result = from_unit(drawn, pixels.dtype)
        else:
            out = pixels if in_place else None
            result = fuse_detail(pixels, drawn, seen, strength=strength, out=out)
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
        """Releases the device; the model cannot render any more."""
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
        """Checks that a depth map is given if the model takes one, and only then.

        Raises:
            InputError: If not.
        """
        if self.takes_depth and not given:
            raise InputError(f"{self.path}: needs a depth map", remedy=("give ", Argument("depth")))
        if given and not self.takes_depth:
            raise InputError(f"{self.path}: takes no depth map; leave it out")

    def _with_depth(self, seen: FloatImage, depth: FloatImage | None) -> FloatImage:
        self.check_depth(given=depth is not None)
        if depth is None:
            return seen
        if not np.isfinite(depth).all():
            raise InputError("the depth map holds NaN or infinity; give one that is finite")
        height, width = seen.shape[:2]
        return np.concatenate([seen, resize_depth(depth, height, width)], axis=2)


def shipped_model(name: str = SHIPPED_MODEL) -> Path:
    """Returns the path of a model that ships with the package."""
    return Path(str(files("bokeh_runtime") / "models" / name))


def input_image_shape(file: TfliteFile) -> tuple[int, int, int]:
    """Returns height and width in pixels, and channels, of the input of an image-to-image network.

    Raises:
        InputError: If the file is of another kind, or leaves open which of its graphs or outputs
            is meant.
    """
    if len(file.signatures) > 1:
        raise InputError(
            f"{file.path}: holds several graphs, {' and '.join(file.signatures)}; "
            "write a file with the one that is to run"
        )
    if len(file.inputs) == 1:
        entry = file.tensors[file.inputs[0]]
        result = file.tensors[file.outputs[file.image_output_index]]
        types = {entry.dtype, result.dtype} <= {"float32", "int8", "uint8", "int16"}
        if len(entry.shape) == 4 and len(result.shape) == 4 and types:
            batch, height, width, channels = entry.shape
            factor = result.shape[1] / max(1, height)
            same_form = result.shape[2] == round(width * factor) and result.shape[1] > 0
            if batch == 1 and channels in (3, 4) and result.shape[3] == 3 and same_form:
                return height, width, channels
    shapes = " to ".join(
        " and ".join(str(list(file.tensors[i].shape)) for i in side)
        for side in (file.inputs, file.outputs)
    )
    raise InputError(
        f"{file.path}: not from one image to one image ({shapes}); "
        "give one with [1, height, width, 3 or 4] in and [1, height, width, 3] out"
    )


def _check_agreement(
    file: TfliteFile, metadata: ModelMetadata | None, shape: tuple[int, int, int]
) -> None:
    if metadata is None:
        return
    said = (
        metadata.input_height,
        metadata.input_width,
        {"rgb": 3, "rgbd": 4}.get(metadata.input_channels),
    )
    if said != shape or tuple(metadata.value_range) != (0.0, 1.0):
        raise InputError(
            f"{file.path}: its metadata and its graph contradict each other; convert it again"
        )


def _checked(image: npt.NDArray[Any]) -> Pixels:
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise InputError(f"a photo is [height, width, 3], not {list(image.shape)}; reshape it")
    if image.dtype == np.float32:
        if not np.isfinite(image).all():
            raise InputError("the photo holds NaN or infinity; give one that is finite")
        return from_unit(image, np.dtype(np.uint16))
    if image.dtype not in (np.uint8, np.uint16):
        raise InputError(f"a photo is uint8, uint16 or float32, not {image.dtype}; cast it")
    return np.ascontiguousarray(image)
