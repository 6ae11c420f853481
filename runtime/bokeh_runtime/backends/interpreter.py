"""Runs a .tflite model in an interpreter: on the CPU (XNNPACK), or through a delegate library."""

from __future__ import annotations

import ctypes
import importlib
import os
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

# Distribution -> module. The first that is installed is the default.
INTERPRETERS = {
    "ai-edge-litert": "ai_edge_litert.interpreter",
    "tflite-runtime": "tflite_runtime.interpreter",
}


class TfliteModel:
    """An image-to-image model in an interpreter. Not thread-safe: use one for each thread.

    Args:
        content: The bytes of the .tflite file.
        threads: CPU threads; None takes all cores.
        interpreter: A key of `INTERPRETERS`; None takes the first that is installed.
        delegate_library: Shared library of an external delegate, for boards that have one.
        output: Which output to return; None takes the picture, see `tflite.file.find_image_output`.
        name: What to call the file in errors.
        ranges: Value ranges of the network's input and output.

    Raises:
        InputError: If the interpreter is not installed, cannot run the file, or the file has
            several outputs that may be the picture.
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
    ) -> None:
        self.interpreter_name, module = _module(interpreter)
        extra: dict[str, Any] = {}
        if delegate_library is not None:
            extra = {
                "experimental_delegates": [_load(module, delegate_library)],
                # Else XNNPACK takes what the library leaves, and nobody could tell them apart.
                "experimental_op_resolver_type": (
                    module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
                ),
            }
        self._interpreter: Any = None
        with _explained(name, self.interpreter_name):
            self._interpreter = module.Interpreter(
                model_content=content,
                num_threads=threads or os.cpu_count() or 1,
                **extra,
            )
            self._interpreter.allocate_tensors()
        self._inputs: list[dict[str, Any]] = self._interpreter.get_input_details()
        outputs: list[dict[str, Any]] = self._interpreter.get_output_details()
        if output is None:
            output = find_image_output(
                name, [(one["name"], tuple(one["shape"])) for one in outputs]
            )
        self._output = outputs[output]
        self._name, self._ranges = name, ranges

    @property
    def interpreter(self) -> Any:
        """The interpreter itself, such as an `ai_edge_litert.interpreter.Interpreter`.

        For measurements that run it beside `run`; None if the model is closed.
        """
        return self._interpreter

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Height and width in pixels, and channels."""
        _, height, width, channels = (int(n) for n in self._inputs[0]["shape"])
        return height, width, channels

    def run(self, image: FloatImage) -> FloatImage:
        """Returns the output for one picture, not clipped.

        Args:
            image: float [height, width, channels] of `input_shape`, in [0, 1].

        Returns:
            float [output height, output width, 3], in about [0, 1]; integer inputs and outputs
            are scaled by their quantization parameters.

        Raises:
            InputError: If the interpreter fails on the file, or the model is closed.
        """
        if self._interpreter is None:
            raise InputError(f"{self._name}: is closed; open it again")
        entry, values = self._inputs[0], self._ranges.input.from_unit(image)
        with _explained(self._name, self.interpreter_name):
            self._interpreter.set_tensor(
                entry["index"], to_tensor(values, entry["dtype"], entry["quantization"])[None]
            )
            self._interpreter.invoke()
            values = self._interpreter.get_tensor(self._output["index"])[0]
        return self._ranges.output.to_unit(from_tensor(values, self._output["quantization"]))

    def unsupported_operators(self, file: TfliteFile) -> tuple[list[Operator], int] | None:
        """Returns the operators of the file that no delegate took (XNNPACK is one).

        Returns:
            Them, and of how many parts what was taken consists; None where the interpreter does
            not tell.
        """
        # The only public trace of a delegate is the log; this is what the visualizers read. It
        # lists the file's operators, then what delegates put in the place of some.
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
        """Releases the interpreter's memory; the model cannot run any more."""
        self._interpreter = None


def installed_interpreters() -> list[str]:
    """Returns the names of the interpreters that are installed, the default first."""
    return [name for name, module in INTERPRETERS.items() if _import(module) is not None]


def to_tensor(image: FloatImage, dtype: Any, quantization: tuple[float, int]) -> Any:
    """Returns real values as a tensor of `dtype` holds them: scaled, rounded and clipped."""
    if np.dtype(dtype) == np.float32:
        return image
    scale, zero = quantization
    limits = np.iinfo(dtype)
    return np.clip(np.round(image / scale) + zero, limits.min, limits.max).astype(dtype)


def from_tensor(values: Any, quantization: tuple[float, int]) -> FloatImage:
    """Returns the real values that a tensor stands for."""
    if values.dtype == np.float32:
        return np.asarray(values)  # the interpreter's copy already
    scale, zero = quantization
    return np.asarray((values.astype(np.float32) - zero) * scale, np.float32)


def _import(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except (ImportError, AttributeError):  # the latter: built against another NumPy
        return None


def _module(name: str | None) -> tuple[str, Any]:
    for candidate in INTERPRETERS if name is None else [name]:
        if candidate not in INTERPRETERS:
            raise InputError(f"interpreter '{name}' is unknown; use {' or '.join(INTERPRETERS)}")
        module = _import(INTERPRETERS[candidate])
        if module is not None:
            return candidate, module
    wanted = name or next(iter(INTERPRETERS))
    raise InputError(f"interpreter '{wanted}' is not installed; pip install {wanted}")


def _load(module: Any, library: Path) -> Any:
    if not library.is_file():
        raise InputError(f"{library}: no such delegate library; check the path")
    try:
        # The interpreter's own loader complains from a finalizer where these two fail.
        if not hasattr(ctypes.CDLL(str(library)), "tflite_plugin_create_delegate"):
            raise ValueError("it has no tflite_plugin_create_delegate")
        return module.load_delegate(str(library))
    except (OSError, ValueError, RuntimeError) as error:
        cause = str(error).strip().splitlines()[0] if str(error).strip() else "it refuses"
        raise HardwareError(
            f"{library}: does not load as a delegate ({cause}); "
            "give one built for this system and its driver"
        ) from error


@contextmanager
def _explained(name: str, interpreter: str) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError) as error:
        lines = str(error).strip().splitlines()
        raise InputError(
            f"{name}: {interpreter} cannot run it ({lines[0] if lines else 'no reason given'})",
            remedy=("use another ", Argument("interpreter"), " or a file of another scheme"),
        ) from error
