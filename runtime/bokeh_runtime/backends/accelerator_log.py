"""Reads from LiteRT's log what an accelerator runs, since there is no API for it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bokeh_runtime.backends.npu import DISPATCH_OP
from bokeh_runtime.tflite.file import TfliteFile
from bokeh_runtime.tflite.operator_names import BUILTIN_OPERATORS

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
_NPU_PLUGIN_ERROR = re.compile(
    r"Exception in compilation: [^\n]*\n(?:Exception from [^\n]*\n)*([^\n]+)"
)
_NPU_MISSING_LIBRARY = re.compile(
    r"Could not load shared library [^\n]*: (?P<library>[^\s:]+): cannot open shared object file"
)
DEVICE_FAULT = re.compile(
    r"(?:Validation error|VK_ERROR_\w+|INTERNAL): ?[^\n]*"
    # The two excluded errors are logged for other drivers, which are skipped.
    r"|VK_ERROR_(?!INCOMPATIBLE_DRIVER|INITIALIZATION_FAILED)\w+[^\n]*"
)


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


@dataclass(frozen=True)
class Support:
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


def support_in(file: TfliteFile, kind: str, log: str) -> Support:
    """Returns what a log says about the support of a model by "gpu" or "npu"."""
    return (_gpu_support if kind == "gpu" else _npu_support)(file, log)


def _gpu_support(file: TfliteFile, log: str) -> Support:
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
    return Support(
        available="No adapters found" not in log,
        may_be_full=not reasons and not splits,
        delegated_ops=delegated,
        partitions=None,
        unsupported_ops=list(reasons) or None,
        reasons=reasons,
    )


def _npu_support(file: TfliteFile, log: str) -> Support:
    plugins_applied = [int(count) for count in _NPU_PLUGINS_APPLIED.findall(log)]
    precompiled = sum(operator.name == DISPATCH_OP for operator in file.operators)
    # Without a plugin or precompiled parts the CPU runs everything, whatever LiteRT reports.
    available = bool(precompiled) or any(plugins_applied)
    total = len(file.operators)
    splits = list(_NPU_SPLIT.finditer(log))
    delegated = partitions = unsupported = None
    if len(splits) == 1 and int(splits[0]["total"]) == total:
        delegated, partitions = int(splits[0]["npu"]), int(splits[0]["partitions"])
        numbers = dict.fromkeys(int(number) for number in _NPU_UNSUPPORTED_OP.findall(log))
        unsupported = [BUILTIN_OPERATORS[n] for n in numbers if n < len(BUILTIN_OPERATORS)] or None
    elif precompiled and not splits:
        # Each precompiled part is a single operator of the file; the CPU runs all others.
        names = dict.fromkeys(o.name for o in file.operators if o.name != DISPATCH_OP)
        delegated, partitions, unsupported = precompiled, precompiled, list(names)
    # Only what is counted is proved: LiteRT also reports "fully accelerated" after a fall-back.
    counted = precompiled if precompiled else delegated
    may_be_full = available and counted == total and not unsupported
    if delegated == 0:
        available = False
    return Support(available, may_be_full, delegated, partitions, unsupported, {})


def plugin_error(log: str) -> str:
    """Returns why a vendor's plugin refused a model; "" if the log does not say."""
    missing = _NPU_MISSING_LIBRARY.search(log)
    if missing is not None and "openvino" in missing["library"]:
        return (
            f"LiteRT's plugin needs {missing['library']}, which another version of openvino has: "
            "pip install 'bokeh-tflite[npu-openvino]'"
        )
    if missing is not None:
        return f"its plugin needs {missing['library']}"
    found = _NPU_PLUGIN_ERROR.search(log)
    return "" if found is None else found[1].partition(" Error: ")[0].strip(" .")


def device_in(kind: str, log: str) -> Device:
    """Returns the device that a log names."""
    adapter = _ADAPTER.search(log)
    if adapter is None:
        return Device(kind.upper(), software=False)
    return Device(adapter["name"], "CPU" in adapter["type"], adapter["backend"])
