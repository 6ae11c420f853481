"""Runs a .tflite model on LiteRT's accelerators (GPU, NPU) through its CompiledModel.

If the CPU may help, LiteRT reports "fully accelerated" for operators on the CPU's XNNPACK, too. So
a model counts as fully accelerated only if LiteRT accepts it for the accelerator alone. Which
operators run on the accelerator with the CPU's help is read from LiteRT's log, since there is no
API for it, and is unknown if the log does not say. On an NPU the whole model also counts only with
that evidence: LiteRT reports "fully accelerated" if the vendor's plugin refuses a model, too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bokeh_runtime.backends.accelerator_log import (
    DEVICE_FAULT,
    Device,
    Support,
    device_in,
    plugin_error,
    support_in,
)
from bokeh_runtime.backends.interpreter import from_tensor, to_tensor
from bokeh_runtime.backends.native_log import capture_native_log
from bokeh_runtime.backends.npu import NpuRuntime, compiled_for
from bokeh_runtime.errors import Argument, HardwareError, InputError
from bokeh_runtime.imaging.photo import FloatImage
from bokeh_runtime.tflite.file import TfliteFile
from bokeh_runtime.tflite.value_range import UNIT_RANGES, ImageRanges

_NOT_FULLY_ACCELERATED = "not accelerated"
"""LiteRT's error for a model that the accelerator does not fully support contains this."""

_USE_CPU = ("use ", Argument("delegate", "cpu"))
RUN_ON_CPU = (
    *("use ", Argument("allow_partial", True), " to run these operators on the CPU, or "),
    *(Argument("delegate", "cpu"), " to run the whole model there"),
)
"""Remedy for a model that a delegate does not fully support."""


class AcceleratedModel:
    """An image-to-image model on a GPU or NPU. Not thread-safe.

    Args:
        file: The model.
        kind: "gpu" or "npu".
        allow_partial: Whether the CPU may run operators that the accelerator does not support.
        force_float32: Whether to forbid half precision (GPU only).
        threads: Number of CPU threads for the operators on the CPU.
        ranges: Value ranges of the network's input and output.
        npu: The vendor's software for the NPU; None for what LiteRT finds (NPU only).

    Attributes:
        device: The hardware of the accelerator.
        fully_accelerated: Whether the accelerator provably runs every operator.
        delegated_ops: Number of operators that the accelerator runs; None if unknown.
        partitions: Number of parts of the graph that the accelerator runs; None if unknown.
        unsupported_ops: Names of the operators that the CPU runs; None if unknown.
        reasons: Why an operator is unsupported, by its name, as far as the accelerator reports it.

    Raises:
        HardwareError: If the accelerator is not available, or without `allow_partial` does not
            provably support the whole model.
    """

    def __init__(
        self,
        file: TfliteFile,
        kind: str,
        *,
        allow_partial: bool = False,
        force_float32: bool = False,
        threads: int = 1,
        ranges: ImageRanges = UNIT_RANGES,
        npu: NpuRuntime | None = None,
    ) -> None:
        self._name, self._ranges = str(file.path), ranges
        asked = _Request(kind, force_float32, threads, npu)
        self._input, self._output = file.tensors[file.inputs[0]], file.tensors[file.outputs[0]]
        self._compiled = _compile(file, asked, with_cpu=False)
        try:
            support = support_in(file, kind, self._compiled.log)
            self.fully_accelerated = self._compiled.accelerated and support.may_be_full
            if not self.fully_accelerated:
                self._compiled.close()
                if not allow_partial or not support.available:
                    raise _unsupported(file, kind, self._compiled, support)
                self._compiled = _compile(file, asked, with_cpu=True)
                support = support_in(file, kind, self._compiled.log)
                if self._compiled.error or not support.available:
                    raise _unsupported(file, kind, self._compiled, support)
            fault = DEVICE_FAULT.search(self._compiled.log)
            if fault:
                raise _unavailable(file, kind, self._compiled.log, fault[0])
        except BaseException:
            self._compiled.close()
            raise
        self.device = (
            Device(npu.device, npu.software)
            if npu is not None
            else device_in(kind, self._compiled.log)
        )
        if self.fully_accelerated:
            self.delegated_ops: int | None = len(file.operators)
            # A GPU delegate that supports all operators runs them as one part. A plugin of an NPU
            # may split them.
            self.partitions = 1 if kind == "gpu" else support.partitions
            self.unsupported_ops: Sequence[str] | None = []
            self.reasons: Mapping[str, str] = {}
        else:
            self.delegated_ops, self.partitions = support.delegated_ops, support.partitions
            self.unsupported_ops, self.reasons = support.unsupported_ops, support.reasons

    def run(self, image: FloatImage) -> FloatImage:
        """Runs the model on one image; see `TfliteModel.run`.

        Raises:
            InputError: If the model is closed.
            HardwareError: If the device fails.
        """
        compiled = self._compiled
        if compiled.model is None:
            raise InputError(f"{self._name}: is closed; open it again")
        shape = self._output.shape[1:]
        values = self._ranges.input.from_unit(image)
        tensor = to_tensor(values, self._input.dtype, self._input.quantization)
        try:
            compiled.input_buffers[0].write(tensor)
            compiled.model.run_by_index(0, compiled.input_buffers, compiled.output_buffers)
            output = compiled.output_buffers[0].read(
                math.prod(shape), np.dtype(self._output.dtype).type
            )
        except RuntimeError as error:
            cause = (str(error).strip().splitlines() or ["no reason given"])[-1].strip(" └")
            raise HardwareError(
                f"{self._name}: inference failed on {self.device.name} ({cause})", remedy=_USE_CPU
            ) from error
        output = from_tensor(output.reshape(shape), self._output.quantization)
        return self._ranges.output.to_unit(output)

    def close(self) -> None:
        """Releases the device. The model cannot run afterwards."""
        self._compiled.close()


@dataclass(frozen=True)
class _Request:
    """How to compile a model; see the arguments of `AcceleratedModel`."""

    kind: str
    force_float32: bool
    threads: int
    npu: NpuRuntime | None


@dataclass
class _Compiled:
    """A model as compiled by LiteRT.

    Attributes:
        model: LiteRT's CompiledModel; None if LiteRT refused the model, or it is closed.
        input_buffers, output_buffers: LiteRT's buffers for the model's input and output.
        accelerated: Whether LiteRT reports the model as fully accelerated.
        error: Why LiteRT refused the model; "" if it did not.
        log: What LiteRT logged during compilation.
    """

    model: Any = None
    input_buffers: Sequence[Any] = ()
    output_buffers: Sequence[Any] = ()
    accelerated: bool = False
    error: str = ""
    log: str = ""

    def close(self) -> None:
        if self.model is not None:
            with capture_native_log():  # LiteRT logs everything that it releases
                self.input_buffers = self.output_buffers = ()
                self.model.close()
                self.model = None


def _compile(file: TfliteFile, asked: _Request, *, with_cpu: bool) -> _Compiled:
    """Compiles a model for an accelerator alone, or for the accelerator and the CPU."""
    try:
        from ai_edge_litert import compiled_model as litert
    except ImportError as error:
        raise HardwareError(
            f"{asked.kind}: LiteRT is not installed; pip install ai-edge-litert"
        ) from error
    accelerators = getattr(litert.HardwareAccelerator, asked.kind.upper())
    if with_cpu:
        accelerators |= litert.HardwareAccelerator.CPU
    options = litert.Options(
        accelerators,
        cpu_options=litert.CpuOptions(num_threads=asked.threads),
        gpu_options=litert.GpuOptions(enforce_f32=asked.force_float32),
        **({} if asked.npu is None else asked.npu.options(litert)),
    )
    compiled = _Compiled()
    given: dict[str, Any] = {}
    with capture_native_log() as log:
        try:
            if asked.npu is not None:
                given["environment"] = asked.npu.environment(litert)
            compiled.model = litert.CompiledModel.from_buffer(
                file.content, options=options, **given
            )
            compiled.input_buffers = compiled.model.create_input_buffers(0)
            compiled.output_buffers = compiled.model.create_output_buffers(0)
            compiled.accelerated = bool(compiled.model.is_fully_accelerated())
        except RuntimeError as error:
            compiled.close()
            compiled.accelerated, compiled.error = False, str(error) or "no reason given"
        except BaseException:
            compiled.close()
            raise
        finally:
            given.clear()  # here, since LiteRT logs that it releases the environment
        compiled.log = log()
    return compiled


def _unsupported(
    file: TfliteFile, kind: str, compiled: _Compiled, support: Support
) -> HardwareError:
    """Returns the error for a model that an accelerator does not run as requested."""
    if support.unsupported_ops and support.available:
        return HardwareError(
            f"{file.path}: the {kind} does not support {', '.join(support.unsupported_ops)}",
            remedy=RUN_ON_CPU,
        )
    if not support.available or (compiled.error and _NOT_FULLY_ACCELERATED not in compiled.error):
        return _unavailable(file, kind, compiled.log, compiled.error)
    return HardwareError(
        f"{file.path}: the {kind} does not run the whole model and does not report which "
        "operators are unsupported",
        remedy=RUN_ON_CPU,
    )


def _unavailable(file: TfliteFile, kind: str, log: str, error: str) -> HardwareError:
    """Returns the error for an accelerator that is not available or fails."""
    if "No adapters found" in log:
        return HardwareError(
            "gpu: no Vulkan device found; install its driver and libvulkan1",
            remedy=("or ", *_USE_CPU),
        )
    if kind == "npu":
        chip, reason = compiled_for(file), plugin_error(log)
        if chip is not None:
            return HardwareError(
                f"npu: {file.path} is compiled for {chip}, and its dispatch library is not here",
                remedy=("run it on that device, or give ", Argument("delegate_library")),
            )
        return HardwareError(
            f"npu: no vendor library accepts the model{f' ({reason})' if reason else ''}; install "
            "the vendor's LiteRT dispatch library and its driver",
            remedy=("or use ", Argument("delegate", "gpu"), " or ", Argument("delegate", "cpu")),
        )
    lines = [line.strip(" └") for line in error.splitlines() if "ERROR: [" not in line]
    return HardwareError(
        f"{kind}: cannot run the model ({' '.join(lines) or error})", remedy=_USE_CPU
    )
