"""Profiles the operators of a model, in a process of its own.

`python -m bokeh_bench.workers.operator_profile FILE THREADS` prints LiteRT's profile summary.
LiteRT offers operator profiling, XNNPACK's kernels included, in its C API only, so this calls the C
functions. Signatures: `litert/c/*.h` of LiteRT 2.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import Any

RUNS = 10
_LIBRARY = {"darwin": "libLiteRt.dylib", "win32": "libLiteRt.dll"}.get(sys.platform, "libLiteRt.so")
_CPU = 1  # kLiteRtHwAcceleratorCpu
_TENSOR_TYPE_BYTES = 512  # more than LiteRtRankedTensorType has

_Destroy = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_FIRST = ctypes.c_size_t(0)
_ONE = ctypes.c_size_t(1)


class _Library:
    """LiteRT's C API. Functions that create an object return it through their last argument."""

    def __init__(self) -> None:
        import ai_edge_litert

        folder = Path(str(ai_edge_litert.__file__)).parent
        self._library = ctypes.CDLL(str(folder / _LIBRARY))

    def call(self, name: str, *arguments: Any) -> None:
        """Calls a function; raises RuntimeError if it returns a status other than 0."""
        status = getattr(self._library, f"LiteRt{name}")(*arguments)
        if status != 0:
            raise RuntimeError(f"LiteRt{name} failed with status {status}")

    def create(self, name: str, *arguments: Any, kind: Any = ctypes.c_void_p) -> Any:
        """Calls a function and returns the object of type `kind` that it creates."""
        created = kind()
        self.call(name, *arguments, ctypes.byref(created))
        return created


def profile(path: Path, threads: int) -> str:
    """Runs a model on the CPU and returns LiteRT's profile summary as text.

    Raises:
        RuntimeError: If a call to LiteRT fails.
    """
    litert = _Library()
    environment = litert.create("CreateEnvironment", 0, None)
    model = litert.create("CreateModelFromFile", environment, str(path).encode())
    options = litert.create("CreateOptions")
    litert.call("SetOptionsHardwareAccelerators", options, _CPU)
    texts = {
        b"runtime_options_string": b"enable_profiling = true\n",
        b"xnnpack": b"num_threads = %d\n" % threads,
    }
    no_destructor = _Destroy(lambda payload: None)
    payloads = {name: ctypes.create_string_buffer(text) for name, text in texts.items()}
    for name, payload in payloads.items():
        address = ctypes.cast(payload, ctypes.c_void_p)
        opaque = litert.create("CreateOpaqueOptions", name, address, no_destructor)
        litert.call("AddOpaqueOptions", options, opaque)
    compiled = litert.create("CreateCompiledModel", environment, model, options)
    profiler = litert.create("CompiledModelGetProfiler", compiled)
    subgraph = litert.create("GetModelSubgraph", model, _FIRST)
    buffers = []
    for side in ("Input", "Output"):
        tensor = litert.create(f"GetSubgraph{side}", subgraph, _FIRST)
        tensor_type = ctypes.create_string_buffer(_TENSOR_TYPE_BYTES)
        litert.call("GetRankedTensorType", tensor, tensor_type)
        needs = litert.create(f"GetCompiledModel{side}BufferRequirements", compiled, _FIRST, _FIRST)
        buffers.append(
            litert.create(
                "CreateManagedTensorBufferFromRequirements", environment, tensor_type, needs
            )
        )
    entry, result = (ctypes.byref(buffer) for buffer in buffers)
    for run in range(RUNS + 1):
        if run == 1:  # the first run prepares kernels and is not profiled
            litert.call("StartProfiler", profiler)
        litert.call("RunCompiledModel", compiled, _FIRST, _ONE, entry, _ONE, result)
    litert.call("StopProfiler", profiler)
    summary = litert.create("GetProfileSummary", profiler, compiled, kind=ctypes.c_char_p)
    return (summary.value or b"").decode()


if __name__ == "__main__":
    sys.stdout.write(profile(Path(sys.argv[1]), int(sys.argv[2])))
