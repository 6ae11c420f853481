"""Runs a .tflite model on LiteRT's accelerators (GPU, NPU) through its CompiledModel.

If the CPU may help, LiteRT reports "fully accelerated" for operators on the CPU's XNNPACK, too. So
a model counts as fully accelerated only if LiteRT accepts it for the accelerator alone. Which
operators run on the accelerator with the CPU's help is read from LiteRT's log, since there is no
API for it, and is unknown if the log does not say.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bokeh_runtime.backends.interpreter import from_tensor, to_tensor
from bokeh_runtime.backends.native_log import capture_native_log
from bokeh_runtime.errors import Argument, HardwareError, InputError
from bokeh_runtime.imaging.photo import FloatImage
from bokeh_runtime.tflite.file import TfliteFile
from bokeh_runtime.tflite.operator_names import BUILTIN_OPERATORS
from bokeh_runtime.tflite.value_range import UNIT_RANGES, ImageRanges

# Log messages of the accelerators during compilation.
_ADAPTER = re.compile(
    r"Selected adapter: (?P<name>.*?), arch=.*backend=(?P<backend>\w*), "
    r"adapterType=(?P<type>[^\n]*)"
)
_GPU_UNSUPPORTED_OPS = re.compile(
    r"operations are not supported by GPU delegate:\n((?:(?!INFO|WARNING|ERROR)\w+: .*\n)*)"
)
_GPU_SPLIT = (
    re.compile(r"(?P<gpu>\d+) operations will run on the GPU, and the remaining (?P<cpu>\d+)"),
    re.compile(r"(?P<gpu>No) operations will run on the GPU, and all (?P<cpu>\d+)"),
)
_NPU_SPLIT = re.compile(
    r"Partitioned subgraph<0>, selected (?P<npu>\d+) ops, from a total of (?P<total>\d+) ops\. "
    r"resulted in (?P<partitions>\d+) partitions"
)
_NPU_UNSUPPORTED_OP = re.compile(r"op type (\d+) is not supported")
_NPU_PLUGINS_APPLIED = re.compile(r"(\d+) compiler plugins were applied successfully")
_DEVICE_FAULT = re.compile(
    r"(?:Validation error|VK_ERROR_\w+|INTERNAL): ?[^\n]*"
    # The two excluded errors are logged for other drivers, which are skipped.
    r"|VK_ERROR_(?!INCOMPATIBLE_DRIVER|INITIALIZATION_FAILED)\w+[^\n]*"
)
_NOT_FULLY_ACCELERATED = "not accelerated"
"""LiteRT's error for a model that the accelerator does not fully support contains this."""
_DISPATCH_OP = "DISPATCH_OP"
"""Custom operator that stands for a part of the model that was compiled for an NPU in advance."""

_USE_CPU = ("use ", Argument("delegate", "cpu"))
RUN_ON_CPU = (
    *("use ", Argument("allow_partial", True), " to run these operators on the CPU, or "),
    *(Argument("delegate", "cpu"), " to run the whole model there"),
)
"""Remedy for a model that a delegate does not fully support."""


@dataclass(frozen=True)
class Device:
    """The hardware of an accelerator.

    Attributes:
        name: Name of the device, as its driver reports it.
        software: Whether the device is a GPU that is emulated by a CPU.
        backend: Graphics API of the accelerator, such as "Vulkan"; "" if it is unknown.
    """

    name: str
    software: bool
    backend: str = ""


class AcceleratedModel:
    """An image-to-image model on a GPU or NPU. Not thread-safe.

    Args:
        file: The model.
        kind: "gpu" or "npu".
        allow_partial: Whether the CPU may run operators that the accelerator does not support.
        force_float32: Whether to forbid half precision (GPU only).
        threads: Number of CPU threads for the operators on the CPU.
        ranges: Value ranges of the network's input and output.

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
    ) -> None:
        self._name, self._ranges = str(file.path), ranges
        self._input, self._output = file.tensors[file.inputs[0]], file.tensors[file.outputs[0]]
        self._compiled = _compile(
            file, kind, with_cpu=False, force_float32=force_float32, threads=threads
        )
        try:
            support = _support(file, kind, self._compiled.log)
            self.fully_accelerated = self._compiled.accelerated and support.may_be_full
            if not self.fully_accelerated:
                self._compiled.close()
                if not allow_partial or not support.available:
                    raise _unsupported(file, kind, self._compiled, support)
                self._compiled = _compile(
                    file, kind, with_cpu=True, force_float32=force_float32, threads=threads
                )
                support = _support(file, kind, self._compiled.log)
                if self._compiled.error or not support.available:
                    raise _unsupported(file, kind, self._compiled, support)
            fault = _DEVICE_FAULT.search(self._compiled.log)
            if fault:
                raise _unavailable(kind, self._compiled.log, fault[0])
        except BaseException:
            self._compiled.close()
            raise
        self.device = _device(kind, self._compiled.log)
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


@dataclass(frozen=True)
class _Support:
    """What LiteRT's log says about the support of a model by an accelerator.

    Attributes:
        available: Whether the accelerator takes part.
        may_be_full: Whether nothing in the log contradicts that the accelerator runs all operators.
        delegated_ops, partitions, unsupported_ops, reasons: See `AcceleratedModel`. They are those
            of a model that is not fully accelerated.
    """

    available: bool
    may_be_full: bool
    delegated_ops: int | None
    partitions: int | None
    unsupported_ops: Sequence[str] | None
    reasons: Mapping[str, str]


def _compile(
    file: TfliteFile, kind: str, *, with_cpu: bool, force_float32: bool, threads: int
) -> _Compiled:
    """Compiles a model for an accelerator alone, or for the accelerator and the CPU."""
    try:
        from ai_edge_litert import compiled_model as litert
    except ImportError as error:
        raise HardwareError(
            f"{kind}: LiteRT is not installed; pip install ai-edge-litert"
        ) from error
    accelerators = getattr(litert.HardwareAccelerator, kind.upper())
    if with_cpu:
        accelerators |= litert.HardwareAccelerator.CPU
    options = litert.Options(
        accelerators,
        cpu_options=litert.CpuOptions(num_threads=threads),
        gpu_options=litert.GpuOptions(enforce_f32=force_float32),
    )
    compiled = _Compiled()
    with capture_native_log() as log:
        try:
            compiled.model = litert.CompiledModel.from_buffer(file.content, options=options)
            compiled.input_buffers = compiled.model.create_input_buffers(0)
            compiled.output_buffers = compiled.model.create_output_buffers(0)
            compiled.accelerated = bool(compiled.model.is_fully_accelerated())
        except RuntimeError as error:
            compiled.close()
            compiled.accelerated, compiled.error = False, str(error) or "no reason given"
        except BaseException:
            compiled.close()
            raise
        compiled.log = log()
    return compiled


def _support(file: TfliteFile, kind: str, log: str) -> _Support:
    return (_gpu_support if kind == "gpu" else _npu_support)(file, log)


def _gpu_support(file: TfliteFile, log: str) -> _Support:
    unsupported = _GPU_UNSUPPORTED_OPS.search(log)
    lines = unsupported[1].splitlines() if unsupported else []
    reasons = {name: reason.strip() for name, _, reason in (line.partition(":") for line in lines)}
    splits = [match for pattern in _GPU_SPLIT for match in pattern.finditer(log)]
    delegated = None
    if len(splits) == 1:  # several would be of several subgraphs
        on_gpu, on_cpu = splits[0]["gpu"], int(splits[0]["cpu"])
        delegated = 0 if on_gpu == "No" else int(on_gpu)
        if delegated + on_cpu != len(file.operators):
            delegated = None
    return _Support(
        available="No adapters found" not in log,
        may_be_full=not reasons and not splits,
        delegated_ops=delegated,
        partitions=None,
        unsupported_ops=list(reasons) or None,
        reasons=reasons,
    )


def _npu_support(file: TfliteFile, log: str) -> _Support:
    plugins_applied = [int(count) for count in _NPU_PLUGINS_APPLIED.findall(log)]
    precompiled = sum(operator.name == _DISPATCH_OP for operator in file.operators)
    # Without a plugin or precompiled parts the CPU runs everything, whatever LiteRT reports.
    available = bool(precompiled) or any(plugins_applied)
    splits = list(_NPU_SPLIT.finditer(log))
    delegated = partitions = unsupported = None
    if len(splits) == 1 and int(splits[0]["total"]) == len(file.operators):
        delegated, partitions = int(splits[0]["npu"]), int(splits[0]["partitions"])
        numbers = dict.fromkeys(int(number) for number in _NPU_UNSUPPORTED_OP.findall(log))
        unsupported = [BUILTIN_OPERATORS[n] for n in numbers if n < len(BUILTIN_OPERATORS)] or None
    elif precompiled and not splits:
        # Each precompiled part is a single operator of the file; the CPU runs all others.
        names = dict.fromkeys(o.name for o in file.operators if o.name != _DISPATCH_OP)
        delegated, partitions, unsupported = precompiled, precompiled, list(names)
    may_be_full = available and all(split["npu"] == split["total"] for split in splits)
    return _Support(available, may_be_full, delegated, partitions, unsupported, {})


def _unsupported(
    file: TfliteFile, kind: str, compiled: _Compiled, support: _Support
) -> HardwareError:
    """Returns the error for a model that an accelerator does not run as requested."""
    if support.unsupported_ops and support.available:
        return HardwareError(
            f"{file.path}: the {kind} does not support {', '.join(support.unsupported_ops)}",
            remedy=RUN_ON_CPU,
        )
    if not support.available or (compiled.error and _NOT_FULLY_ACCELERATED not in compiled.error):
        return _unavailable(kind, compiled.log, compiled.error)
    return HardwareError(
        f"{file.path}: the {kind} does not run the whole model and does not report which "
        "operators are unsupported",
        remedy=RUN_ON_CPU,
    )


def _device(kind: str, log: str) -> Device:
    adapter = _ADAPTER.search(log)
    if adapter is None:
        return Device(kind.upper(), software=False)
    return Device(adapter["name"], "CPU" in adapter["type"], adapter["backend"])


def _unavailable(kind: str, log: str, error: str) -> HardwareError:
    """Returns the error for an accelerator that is not available or fails."""
    if "No adapters found" in log:
        return HardwareError(
            "gpu: no Vulkan device found; install its driver and libvulkan1",
            remedy=("or ", *_USE_CPU),
        )
    if kind == "npu":
        return HardwareError(
            "npu: no vendor library accepts the model; install the vendor's LiteRT dispatch "
            "library and its driver",
            remedy=("or use ", Argument("delegate", "gpu"), " or ", Argument("delegate", "cpu")),
        )
    lines = [line.strip(" └") for line in error.splitlines() if "ERROR: [" not in line]
    return HardwareError(
        f"{kind}: cannot run the model ({' '.join(lines) or error})", remedy=_USE_CPU
    )
