"""Runs a .tflite model on LiteRT's accelerators (GPU, NPU) through its CompiledModel.

LiteRT says "fully accelerated" of what the CPU's XNNPACK runs too, once the CPU may help. So a
model is whole on an accelerator only where LiteRT took it for that accelerator alone; what it took
with the CPU's help is read from its log, and is unknown where the log does not tell.
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

# What the accelerators write while they compile; there is no other way to learn it.
_ADAPTER = re.compile(
    r"Selected adapter: (?P<name>.*?), arch=.*backend=(?P<backend>\w*), "
    r"adapterType=(?P<type>[^\n]*)"
)
_UNSUPPORTED = re.compile(
    r"operations are not supported by GPU delegate:\n((?:(?!INFO|WARNING|ERROR)\w+: .*\n)*)"
)
_GPU_SHARES = (
    re.compile(r"(?P<placed>\d+) operations will run on the GPU, and the remaining (?P<left>\d+)"),
    re.compile(r"(?P<placed>No) operations will run on the GPU, and all (?P<left>\d+)"),
)
_NPU_SHARES = re.compile(
    r"Partitioned subgraph<0>, selected (?P<placed>\d+) ops, from a total of (?P<total>\d+) ops\. "
    r"resulted in (?P<partitions>\d+) partitions"
)
_NPU_UNSUPPORTED = re.compile(r"op type (\d+) is not supported")
_PLUGINS = re.compile(r"(\d+) compiler plugins were applied successfully")
_FAULT = re.compile(
    r"(?:Validation error|VK_ERROR_\w+|INTERNAL): ?[^\n]*"
    # The other two are said of a driver that is passed over.
    r"|VK_ERROR_(?!INCOMPATIBLE_DRIVER|INITIALIZATION_FAILED)\w+[^\n]*"
)
_USE_CPU = ("use ", Argument("delegate", "cpu"))
RUN_ON_CPU = (
    *("use ", Argument("allow_partial", True), " to run these operators on the CPU, or "),
    *(Argument("delegate", "cpu"), " to run the whole model there"),
)
"""Remedy for a model of which a delegate runs a part."""
_IN_PART = "not accelerated"
"""LiteRT's word for a model of which the accelerator does not run all."""
_KNOWN = len(BUILTIN_OPERATORS)
_PRECOMPILED = "DISPATCH_OP"
"""The operator that stands for what was compiled for an NPU ahead of time."""


@dataclass(frozen=True)
class Device:
    """What an accelerator runs on.

    Attributes:
        name: As its driver gives it.
        software: A CPU imitates a GPU.
        backend: The interface that reaches it, such as "Vulkan"; "" if it is not known.
    """

    name: str
    software: bool
    backend: str = ""


class AcceleratedModel:
    """An image-to-image model on a GPU or NPU. Not thread-safe.

    Args:
        file: The model.
        kind: "gpu" or "npu".
        partial: Let the CPU run what the accelerator does not take.
        float32: Rule half precision out (GPU).
        threads: Of the CPU, for its part.
        ranges: Value ranges of the network's input and output.

    Attributes:
        device: What it runs on.
        whole: Whether the accelerator runs every operator, by proof.
        delegated_ops: How many it runs; None where that is not known.
        partitions: In how many parts; None likewise.
        unsupported_ops: Names of the operators that the CPU runs; None likewise.
        reasons: Why, in the accelerator's words, by name; empty where it gives none.

    Raises:
        HardwareError: If the accelerator is not here, or does not take the whole model and
            `partial` is not given, or there is no proof that it does.
    """

    def __init__(
        self,
        file: TfliteFile,
        kind: str,
        *,
        partial: bool = False,
        float32: bool = False,
        threads: int = 1,
        ranges: ImageRanges = UNIT_RANGES,
    ) -> None:
        self._name, self._ranges = str(file.path), ranges
        self._input, self._output = file.tensors[file.inputs[0]], file.tensors[file.outputs[0]]
        self._compiled = _compile(file, kind, alone=True, float32=float32, threads=threads)
        try:
            found = _found(file, kind, self._compiled.log)
            self.whole = self._compiled.accelerated and found.may_be_whole
            if not self.whole:
                self._compiled.close()
                if not partial or not found.there:
                    raise _refusal(file, kind, self._compiled, found)
                self._compiled = _compile(file, kind, alone=False, float32=float32, threads=threads)
                found = _found(file, kind, self._compiled.log)
                if self._compiled.error or not found.there:
                    raise _refusal(file, kind, self._compiled, found)
            fault = _FAULT.search(self._compiled.log)
            if fault:
                raise _unavailable(kind, self._compiled.log, fault[0])
        except BaseException:
            self._compiled.close()
            raise
        self.device = _device(kind, self._compiled.log)
        total = len(file.operators)
        # A single delegate that takes every node takes them as one; a plugin may cut them.
        one = 1 if kind == "gpu" else found.partitions
        self.delegated_ops = total if self.whole else found.placed
        self.partitions = one if self.whole else found.partitions
        self.reasons: Mapping[str, str] = {} if self.whole else found.reasons
        self.unsupported_ops: Sequence[str] | None = [] if self.whole else found.left

    def run(self, image: FloatImage) -> FloatImage:
        """Returns the output for one picture, not clipped; as `TfliteModel.run`.

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
            compiled.feed[0].write(tensor)
            compiled.model.run_by_index(0, compiled.feed, compiled.fetch)
            read = compiled.fetch[0].read(math.prod(shape), np.dtype(self._output.dtype).type)
        except RuntimeError as error:
            why = (str(error).strip().splitlines() or ["no reason given"])[-1].strip(" └")
            raise HardwareError(
                f"{self._name}: inference failed on {self.device.name} ({why})", remedy=_USE_CPU
            ) from error
        output = from_tensor(read.reshape(shape), self._output.quantization)
        return self._ranges.output.to_unit(output)

    def close(self) -> None:
        """Releases the device; the model cannot run any more."""
        self._compiled.close()


@dataclass
class _Compiled:
    """What LiteRT made of a model.

    Attributes:
        model: LiteRT's; None if it refused, or is closed.
        feed, fetch: The model's input and output buffers.
        accelerated: LiteRT says that the asked accelerators run all of it.
        error: Why it refused; "" if it did not.
        log: What was written meanwhile.
    """

    model: Any = None
    feed: Sequence[Any] = ()
    fetch: Sequence[Any] = ()
    accelerated: bool = False
    error: str = ""
    log: str = ""

    def close(self) -> None:
        if self.model is not None:
            with capture_native_log():  # it tells of each part that it takes down
                self.feed = self.fetch = ()
                self.model.close()
                self.model = None


@dataclass(frozen=True)
class _Found:
    """What the log tells of a model's place.

    Attributes:
        there: Whether the accelerator takes part, by proof where LiteRT's word is none.
        may_be_whole: Nothing contradicts that it runs all.
        placed, partitions, left, reasons: See `AcceleratedModel`; of a model that is not whole.
    """

    there: bool
    may_be_whole: bool
    placed: int | None
    partitions: int | None
    left: Sequence[str] | None
    reasons: Mapping[str, str]


def _compile(file: TfliteFile, kind: str, *, alone: bool, float32: bool, threads: int) -> _Compiled:
    """Compiles for an accelerator alone, or with the CPU's help."""
    try:
        from ai_edge_litert import compiled_model as litert
    except ImportError as error:
        raise HardwareError(
            f"{kind}: LiteRT is not installed; pip install ai-edge-litert"
        ) from error
    accelerators = getattr(litert.HardwareAccelerator, kind.upper())
    if not alone:
        accelerators |= litert.HardwareAccelerator.CPU
    options = litert.Options(
        accelerators,
        cpu_options=litert.CpuOptions(num_threads=threads),
        gpu_options=litert.GpuOptions(enforce_f32=float32),
    )
    compiled = _Compiled()
    with capture_native_log() as log:
        try:
            compiled.model = litert.CompiledModel.from_buffer(file.content, options=options)
            compiled.feed = compiled.model.create_input_buffers(0)
            compiled.fetch = compiled.model.create_output_buffers(0)
            compiled.accelerated = bool(compiled.model.is_fully_accelerated())
        except RuntimeError as error:
            compiled.close()
            compiled.accelerated, compiled.error = False, str(error) or "no reason given"
        except BaseException:
            compiled.close()
            raise
        compiled.log = log()
    return compiled


def _found(file: TfliteFile, kind: str, log: str) -> _Found:
    return (_found_on_gpu if kind == "gpu" else _found_on_npu)(file, log)


def _found_on_gpu(file: TfliteFile, log: str) -> _Found:
    lists = _UNSUPPORTED.search(log)
    lines = lists[1].splitlines() if lists else []
    reasons = {name: why.strip() for name, _, why in (line.partition(":") for line in lines)}
    shares = [match for pattern in _GPU_SHARES for match in pattern.finditer(log)]
    placed = None
    if len(shares) == 1:  # several would be of several graphs
        number, left = shares[0]["placed"], int(shares[0]["left"])
        placed = 0 if number == "No" else int(number)
        if placed + left != len(file.operators):
            placed = None
    return _Found(
        there="No adapters found" not in log,
        may_be_whole=not reasons and not shares,
        placed=placed,
        partitions=None,
        left=list(reasons) or None,
        reasons=reasons,
    )


def _found_on_npu(file: TfliteFile, log: str) -> _Found:
    applied = [int(count) for count in _PLUGINS.findall(log)]
    precompiled = sum(operator.name == _PRECOMPILED for operator in file.operators)
    # Without either the CPU runs it all, whatever LiteRT says.
    there = bool(precompiled) or any(applied)
    shares = list(_NPU_SHARES.finditer(log))
    placed = partitions = left = None
    total = len(file.operators)
    if len(shares) == 1 and int(shares[0]["total"]) == total:
        placed, partitions = int(shares[0]["placed"]), int(shares[0]["partitions"])
        refused = dict.fromkeys(int(number) for number in _NPU_UNSUPPORTED.findall(log))
        left = [BUILTIN_OPERATORS[number] for number in refused if number < _KNOWN] or None
    elif precompiled and not shares:
        # The NPU's parts are single operators of the file; all the others are left.
        names = dict.fromkeys(o.name for o in file.operators if o.name != _PRECOMPILED)
        placed, partitions, left = precompiled, precompiled, list(names)
    may_be_whole = there and all(share["placed"] == share["total"] for share in shares)
    return _Found(there, may_be_whole, placed, partitions, left, {})


def _refusal(file: TfliteFile, kind: str, compiled: _Compiled, found: _Found) -> HardwareError:
    """Returns why a model does not run on an accelerator as asked."""
    if found.left and found.there:
        return HardwareError(
            f"{file.path}: the {kind} does not support {', '.join(found.left)}", remedy=RUN_ON_CPU
        )
    if not found.there or (compiled.error and _IN_PART not in compiled.error):
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
