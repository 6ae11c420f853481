"""Runs a .tflite model on LiteRT's accelerators (GPU, NPU) through its CompiledModel."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bokeh_runtime.errors import HardwareError
from bokeh_runtime.interpreter import from_tensor, to_tensor
from bokeh_runtime.photo import FloatImage
from bokeh_runtime.quiet import held_back
from bokeh_runtime.tflite_file import TfliteFile

# What the accelerators write while they compile; there is no other way to learn it.
_ADAPTER = re.compile(r"Selected adapter: (?P<name>.*?), arch=.*adapterType=(?P<type>[^\n]*)")
_UNSUPPORTED = re.compile(r"operations are not supported by GPU delegate:\n((?:\w+: .*\n)*)")
_SHARES = re.compile(r"(\d+) operations will run on the GPU, and the remaining (\d+)")
_FAULT = re.compile(r"(?:Validation error|VK_ERROR_\w+|INTERNAL): ?[^\n]*")


@dataclass(frozen=True)
class Device:
    """What an accelerator runs on; `software` where a CPU imitates a GPU."""

    name: str
    software: bool


class AcceleratedModel:
    """An image-to-image model on a GPU or NPU. Not thread-safe.

    Args:
        file: The model.
        kind: "gpu" or "npu".
        partial: Let the CPU run what the accelerator does not take.
        float32: Rule half precision out (GPU).
        threads: Of the CPU, for its part.

    Raises:
        HardwareError: If the accelerator is not here, or does not take the whole model and
            `partial` is not given.
    """

    def __init__(
        self,
        file: TfliteFile,
        kind: str,
        *,
        partial: bool = False,
        float32: bool = False,
        threads: int = 1,
    ) -> None:
        self._input, self._output = file.tensors[file.inputs[0]], file.tensors[file.outputs[0]]
        with held_back() as log:
            try:
                self._model: Any = _compile(file.content, kind, partial, float32, threads)
                self._feed = self._model.create_input_buffers(0)
                self._fetch = self._model.create_output_buffers(0)
                whole = bool(self._model.is_fully_accelerated())
            except RuntimeError as error:
                unsupported = _unsupported(log()) or _refused(file, kind, threads)
                if unsupported:
                    raise HardwareError(
                        f"{file.path}: the {kind} would not run {', '.join(unsupported)}; "
                        "--allow-partial leaves them to the CPU, --delegate cpu all of it"
                    ) from error
                raise HardwareError(_why_not(kind, log(), str(error))) from error
            written = log()
        fault = _FAULT.search(written)
        if fault:
            self.close()
            raise HardwareError(_why_not(kind, written, fault[0]))
        self.device = _device(kind, written)
        shares = _SHARES.search(written)
        self.reasons: Mapping[str, str] = {} if whole else _unsupported(written)
        self.left: Sequence[str] = list(self.reasons)
        # The log tells the operators that are left, not in how many parts the others run.
        self.partitions = 1 if whole else None
        total = len(file.operators)
        self.nodes_placed = total - (int(shares[2]) if shares and not whole else 0)

    def run(self, image: FloatImage) -> FloatImage:
        """Returns the output for one picture, not clipped; as `TfliteModel.run`."""
        self._feed[0].write(to_tensor(image, self._input.dtype, self._input.quantization))
        self._model.run_by_index(0, self._feed, self._fetch)
        shape = self._output.shape[1:]
        values = self._fetch[0].read(math.prod(shape), np.dtype(self._output.dtype).type)
        return from_tensor(values.reshape(shape), self._output.quantization)

    def close(self) -> None:
        """Releases the device; the model cannot run any more."""
        with held_back():  # it tells of each part that it takes down
            self._model = self._feed = self._fetch = None


def _compile(content: bytes, kind: str, partial: bool, float32: bool, threads: int) -> Any:
    try:
        from ai_edge_litert import compiled_model as litert
    except ImportError as error:
        raise HardwareError(
            f"{kind}: LiteRT is not installed; pip install ai-edge-litert"
        ) from error
    accelerators = getattr(litert.HardwareAccelerator, kind.upper())
    if partial:
        accelerators |= litert.HardwareAccelerator.CPU
    options = litert.Options(
        accelerators,
        cpu_options=litert.CpuOptions(num_threads=threads),
        gpu_options=litert.GpuOptions(enforce_f32=float32),
    )
    return litert.CompiledModel.from_buffer(content, options=options)


def _refused(file: TfliteFile, kind: str, threads: int) -> dict[str, str]:
    """Compiles for accelerator and CPU together, which is when the log lists what is left over."""
    with held_back() as log:
        try:
            _compile(file.content, kind, True, False, threads)
        except RuntimeError:
            return {}
        return _unsupported(log())


def _unsupported(log: str) -> dict[str, str]:
    found = _UNSUPPORTED.search(log)
    lines = found[1].splitlines() if found else []
    return {name: why.strip() for name, _, why in (line.partition(":") for line in lines)}


def _device(kind: str, log: str) -> Device:
    adapter = _ADAPTER.search(log)
    if adapter is None:
        return Device(kind.upper(), software=False)
    return Device(adapter["name"], software="CPU" in adapter["type"])


def _why_not(kind: str, log: str, error: str) -> str:
    if "No adapters found" in log:
        return (
            "gpu: no Vulkan device found; install its driver and libvulkan1, or use --delegate cpu"
        )
    if kind == "npu":
        return (
            "npu: no vendor library takes the model; install the vendor's LiteRT dispatch library "
            "and its driver, or use --delegate gpu or cpu"
        )
    lines = [line.strip(" └") for line in error.splitlines() if "ERROR: [" not in line]
    return f"{kind}: cannot run the model ({' '.join(lines) or error}); use --delegate cpu"
