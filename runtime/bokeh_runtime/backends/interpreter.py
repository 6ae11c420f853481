"""Runs a .tflite model in a TFLite interpreter: on the CPU, or with an external delegate."""

from __future__ import annotations

import ctypes
import importlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from bokeh_runtime.backends.placement import unsupported_operators
from bokeh_runtime.errors import Argument, HardwareError, InputError
from bokeh_runtime.imaging.photo import FloatImage
from bokeh_runtime.tflite.file import Operator, TfliteFile, find_image_output
from bokeh_runtime.tflite.value_range import UNIT_RANGES, ImageRanges

# Module of each interpreter, by its distribution. The first that is installed is the default.
INTERPRETERS = {
    "ai-edge-litert": "ai_edge_litert.interpreter",
    "tflite-runtime": "tflite_runtime.interpreter",
}
_RESOLVER = "experimental_op_resolver_type"
# What TFLite says of the operator that fails to prepare or to run.
_FAILED_NODE = re.compile(r"[Nn]ode number \d+ \((\w+)\)")


class TfliteModel:
    """An image-to-image model in an interpreter. Not thread-safe: use one for each thread.

    Args:
        content: Content of the .tflite file.
        threads: Number of CPU threads. None uses all cores.
        interpreter: A key of `INTERPRETERS`. None uses the first that is installed.
        delegate_library: Shared library of an external delegate.
        output: Index of the output to return. None selects the image, see
            `tflite.file.find_image_output`.
        name: Name of the file in error messages.
        ranges: Value ranges of the network's input and output.
        size: Height and width in pixels to which the input is resized. None keeps the file's.

    Raises:
        InputError: If the interpreter is not installed or cannot run the file, the graph does not
            take `size`, or the file does not have exactly one image output.
        HardwareError: If the delegate library cannot be loaded.
    """

    def __init__(
        self,
        content: bytes,
        *,
        threads: int | None = None,
        interpreter: str | None = None,
        delegate_library: Path | None = None,
        output: int | None = None,
        name: str = "the model",
        ranges: ImageRanges = UNIT_RANGES,
        size: tuple[int, int] | None = None,
    ) -> None:
        self._name, self._ranges, self._size = name, ranges, size
        self.interpreter_name, module = _interpreter_module(interpreter)
        delegate_options: dict[str, Any] = {}
        if delegate_library is not None:
            delegate_options = {
                "experimental_delegates": [_load_delegate(module, delegate_library)],
                # Otherwise XNNPACK would run the operators that the library does not support, and
                # the two could not be told apart.
                _RESOLVER: module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            }
        delegate_options["num_threads"] = threads or os.cpu_count() or 1
        self._interpreter: Any = None
        with self._errors():
            if size is None:
                self._interpreter = module.Interpreter(model_content=content, **delegate_options)
                self._interpreter.allocate_tensors()
            else:
                self._interpreter = _resized(module, content, delegate_options, size)
        self._inputs: list[dict[str, Any]] = self._interpreter.get_input_details()
        outputs: list[dict[str, Any]] = self._interpreter.get_output_details()
        if output is None:
            output = find_image_output(
                name, [(one["name"], tuple(one["shape"])) for one in outputs]
            )
        self._output = outputs[output]
        if size is not None:
            self._check_resized_output(size)

    @property
    def interpreter(self) -> Any:
        """The wrapped interpreter, such as an `ai_edge_litert.interpreter.Interpreter`.

        For benchmarks that call it directly. None if the model is closed.
        """
        return self._interpreter

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Height and width of the input in pixels, and its number of channels."""
        _, height, width, channels = (int(n) for n in self._inputs[0]["shape"])
        return height, width, channels

    def run(self, image: FloatImage) -> FloatImage:
        """Runs the model on one image.

        Args:
            image: float32 [height, width, channels] of `input_shape`, in [0, 1]. For a model with
                integer input it is quantized.

        Returns:
            float32 [output height, output width, 3], about in [0, 1], not clipped. An integer
            output is dequantized.

        Raises:
            InputError: If the interpreter fails on the file, or the model is closed.
        """
        if self._interpreter is None:
            raise InputError(f"{self._name}: is closed; open it again")
        input_details, values = self._inputs[0], self._ranges.input.from_unit(image)
        with self._errors():
            self._interpreter.set_tensor(
                input_details["index"],
                to_tensor(values, input_details["dtype"], input_details["quantization"])[None],
            )
            self._interpreter.invoke()
            output = self._interpreter.get_tensor(self._output["index"])[0]
        return self._ranges.output.to_unit(from_tensor(output, self._output["quantization"]))

    def unsupported_operators(self, file: TfliteFile) -> tuple[list[Operator], int] | None:
        """Returns the operators that no delegate runs. XNNPACK counts as a delegate.

        Args:
            file: The file of this model.

        Returns:
            The operators, and the number of parts that delegates run; None if the interpreter does
            not report them.
        """
        # There is no public API for this. The private method lists the operators of the file, then
        # the nodes with which delegates replaced some of them.
        try:
            nodes = [
                ([int(i) for i in node["inputs"]], [int(i) for i in node["outputs"]])
                for node in self._interpreter._get_ops_details()
            ]
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError):
            return None
        count = len(file.operators)
        if [outputs for _, outputs in nodes[:count]] != [list(o.outputs) for o in file.operators]:
            return None
        parts = [(inputs, outputs) for inputs, outputs in nodes[count:] if outputs]
        return unsupported_operators(file, parts), len(parts)

    def close(self) -> None:
        """Releases the interpreter's memory. The model cannot run afterwards."""
        self._interpreter = None

    def _check_resized_output(self, size: tuple[int, int]) -> None:
        shape = [int(n) for n in self._output["shape"]]
        factor = shape[1] / size[0] if len(shape) == 4 else 0.0
        channels = 1 if self.input_shape[2] == 1 else 3
        if factor == 0 or shape[2:] != [round(size[1] * factor), channels]:
            raise InputError(
                f"{self._name}: with an input of {size[0]} x {size[1]} its output is {shape}, not "
                "an image of the same aspect ratio",
                remedy=("give another ", Argument("size"), ", such as multiples of 32"),
            )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, ValueError) as error:
            node = _FAILED_NODE.search(str(error))
            if node is not None and self._size is not None:
                raise InputError(
                    f"{self._name}: its operator {node[1]} does not take an input of "
                    f"{self._size[0]} x {self._size[1]}",
                    remedy=("give another ", Argument("size"), ", such as multiples of 32"),
                ) from error
            lines = str(error).strip().splitlines()
            cause = lines[0] if lines else "no reason given"
            raise InputError(
                f"{self._name}: {self.interpreter_name} cannot run it ({cause})",
                remedy=("use another ", Argument("interpreter"), " or a file of another scheme"),
            ) from error


def installed_interpreters() -> list[str]:
    """Returns the names of the installed interpreters, the default first."""
    return [name for name, module in INTERPRETERS.items() if _import_or_none(module) is not None]


def to_tensor(image: FloatImage, dtype: Any, quantization: tuple[float, int]) -> Any:
    """Quantizes an image: round(image / scale) + zero point, clipped to the range of `dtype`.

    Args:
        image: float32, any shape.
        dtype: NumPy dtype of the tensor. For float32 the image is returned unchanged.
        quantization: Scale and zero point. A scale of 0 stands for integers as they are.
    """
    if np.dtype(dtype) == np.float32:
        return image
    scale, zero_point = quantization if quantization[0] else (1.0, 0)
    limits = np.iinfo(dtype)
    return np.clip(np.round(image / scale) + zero_point, limits.min, limits.max).astype(dtype)


def from_tensor(values: Any, quantization: tuple[float, int]) -> FloatImage:
    """Dequantizes a tensor: (values - zero point) * scale; float32 is returned unchanged."""
    if values.dtype == np.float32:
        return np.asarray(values)  # this is already a copy
    scale, zero_point = quantization if quantization[0] else (1.0, 0)
    return np.asarray((values.astype(np.float32) - zero_point) * scale, np.float32)


def _import_or_none(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except (ImportError, AttributeError):  # AttributeError: built against another NumPy version
        return None


def _interpreter_module(name: str | None) -> tuple[str, Any]:
    for candidate in INTERPRETERS if name is None else [name]:
        if candidate not in INTERPRETERS:
            raise InputError(f"interpreter '{name}' is unknown; use {' or '.join(INTERPRETERS)}")
        module = _import_or_none(INTERPRETERS[candidate])
        if module is not None:
            return candidate, module
    name_or_default = name or next(iter(INTERPRETERS))
    raise InputError(
        f"interpreter '{name_or_default}' is not installed; pip install {name_or_default}"
    )


def _resized(module: Any, content: bytes, options: dict[str, Any], size: tuple[int, int]) -> Any:
    """Returns an interpreter with an input of another size, which has run once.

    Raises:
        RuntimeError, ValueError: If the graph does not take the size.
    """

    def opened(options: dict[str, Any]) -> Any:
        interpreter = module.Interpreter(model_content=content, **options)
        entry = interpreter.get_input_details()[0]
        shape = [entry["shape"][0], *size, entry["shape"][3]]
        interpreter.resize_tensor_input(entry["index"], shape)
        interpreter.allocate_tensors()
        # The shapes of some outputs are known after a run only.
        interpreter.set_tensor(entry["index"], np.zeros(shape, entry["dtype"]))
        interpreter.invoke()
        return interpreter

    try:
        return opened(options)
    except (RuntimeError, ValueError):
        if _RESOLVER in options:
            raise
        # XNNPACK takes fewer graphs than the built-in kernels, and names no operator.
        without = {_RESOLVER: module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES}
        return opened({**options, **without})


def _load_delegate(module: Any, library: Path) -> Any:
    if not library.is_file():
        raise InputError(f"{library}: no such file; give the shared library of a delegate")
    try:
        # Checked here, since the interpreter's loader prints errors from a finalizer if this fails.
        if not hasattr(ctypes.CDLL(str(library)), "tflite_plugin_create_delegate"):
            raise ValueError("it has no tflite_plugin_create_delegate")
        return module.load_delegate(str(library))
    except (OSError, ValueError, RuntimeError) as error:
        cause = str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
        raise HardwareError(
            f"{library}: cannot be loaded as a delegate ({cause}); "
            "give one that is built for this system and its driver"
        ) from error
