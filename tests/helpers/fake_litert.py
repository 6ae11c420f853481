"""A LiteRT whose CompiledModel does what a test says: refuses, writes a log, runs, fails.

The logs are those of ai-edge-litert 2.3: on SwiftShader, and with OpenVINO 2026.3's plugin.
"""

from __future__ import annotations

import enum
import os
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from bokeh_runtime.tflite.file import TfliteFile


def adapter(name: str = "Test GPU", kind: str = "Discrete GPU") -> str:
    return (
        "I0000 00:00:1795574213.299846    6364 environment.cc:532] Selected adapter: "
        f"{name}, arch=test, vendor=nobody, backend=Vulkan, adapterType={kind}\n"
    )


NO_ADAPTER = (
    "ERROR: [delegate_webgpu.cc:359] Failed to initialize WebGPU environment: INTERNAL: "
    "No adapters found\n"
)
NOT_ALL = (
    "ERROR: [./litert/cc/litert_compiled_model.h:1961]\n"
    "└ Some ops are not accelerated. Add kLiteRtHwAcceleratorCpu to the compilation accelerator "
    "set to allow using the CPU to run those."
)
XNNPACK = "INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"


def unsupported(*names: str) -> str:
    lines = "".join(f"{name}: Operation is not supported.\n" for name in names)
    return f"ERROR: Following operations are not supported by GPU delegate:\n{lines}"


def gpu_shares(placed: int, left: int) -> str:
    if placed == 0:
        return (
            f"No operations will run on the GPU, and all {left} operations will run on the CPU.\n"
        )
    return (
        f"{placed} operations will run on the GPU, and the remaining {left} operations will run on "
        "the CPU.\n"
    )


def npu(selected: int, total: int, *, applied: int = 1, refused: tuple[int, ...] = ()) -> str:
    lines = [f"INFO: [plugin.cc:497] op type {number} is not supported" for number in refused]
    return "\n".join(
        [
            *lines,
            f"INFO: [compiler_plugin.cc:742] Partitioned subgraph<0>, selected {selected} ops, "
            f"from a total of {total} ops. resulted in 1 partitions.",
            f"INFO: [compiled_model.cc:1397] {applied} compiler plugins were applied successfully: "
            f"{'a plugin (ver 0.1.0)' if applied else ''}",
            "",
        ]
    )


class Accelerator(enum.IntFlag):
    CPU = 1
    GPU = 2
    NPU = 4


@dataclass
class Outcome:
    """What happens when a model is compiled.

    Attributes:
        log: Written to standard error.
        error: LiteRT refuses with it; "" if it does not.
        accelerated: What `is_fully_accelerated` says.
        fails_at: Name of a method that raises `failure`.
        failure: See there.
    """

    log: str = ""
    error: str = ""
    accelerated: bool = True
    fails_at: str = ""
    failure: BaseException | None = None


class FakeLitert:
    """What the tests see.

    Attributes:
        on: Returns the outcome, given the accelerators and whether float32 is enforced.
        draw: From the input tensor to the output tensor, given whether float32 is enforced.
        opened, closed, runs: Counts.
        asked: The accelerators of each compilation.
    """

    def __init__(self) -> None:
        self.on: Callable[[Accelerator, bool], Outcome] = lambda *_: Outcome(adapter())
        self.draw: Callable[[np.ndarray, bool], np.ndarray] = lambda tensor, _: tensor
        self.opened = self.closed = self.runs = 0
        self.asked: list[Accelerator] = []

    def install(self, patch: pytest.MonkeyPatch) -> FakeLitert:
        """Puts itself in the place of `ai_edge_litert.compiled_model`."""
        module = types.ModuleType("ai_edge_litert.compiled_model")
        module.HardwareAccelerator = Accelerator
        module.Options = lambda accelerators, **options: (accelerators, options)
        module.CpuOptions = module.GpuOptions = lambda **given: given
        module.CompiledModel = types.SimpleNamespace(from_buffer=self._compile)
        try:
            import ai_edge_litert as package
        except ImportError:
            package = types.ModuleType("ai_edge_litert")
            patch.setitem(sys.modules, "ai_edge_litert", package)
        patch.setitem(sys.modules, "ai_edge_litert.compiled_model", module)
        patch.setattr(package, "compiled_model", module, raising=False)
        return self

    def like_the_cpu(self, file: TfliteFile, *, off_by: float = 1e-4) -> None:
        """Draws what the CPU does, in sums of another order."""
        from bokeh_runtime.backends.interpreter import TfliteModel

        model = TfliteModel(file.content, threads=1)
        self.draw = lambda tensor, _: model.run(tensor) + np.float32(off_by)

    def _compile(self, _: bytes, *, options: tuple, **_more: object) -> _Model:
        accelerators, more = options
        self.asked.append(accelerators)
        float32 = more["gpu_options"]["enforce_f32"]
        outcome = self.on(accelerators, float32)
        os.write(1, b"INFO: Failed to load OpenCL library with dlopen: libOpenCL.so\n")
        os.write(2, outcome.log.encode())
        if outcome.error:
            raise RuntimeError(outcome.error)
        self.opened += 1
        return _Model(self, outcome, float32)


class _Model:
    def __init__(self, litert: FakeLitert, outcome: Outcome, float32: bool) -> None:
        self._litert, self._outcome, self._float32 = litert, outcome, float32

    def create_input_buffers(self, _: int) -> list[_Buffer]:
        return self._buffers("create_input_buffers")

    def create_output_buffers(self, _: int) -> list[_Buffer]:
        return self._buffers("create_output_buffers")

    def is_fully_accelerated(self) -> bool:
        self._may_fail("is_fully_accelerated")
        return self._outcome.accelerated

    def run_by_index(self, _: int, feed: list[_Buffer], fetch: list[_Buffer]) -> None:
        self._may_fail("run_by_index")
        self._litert.runs += 1
        fetch[0].values = self._litert.draw(feed[0].values, self._float32)

    def close(self) -> None:
        self._litert.closed += 1

    def _buffers(self, name: str) -> list[_Buffer]:
        self._may_fail(name)
        return [_Buffer()]

    def _may_fail(self, name: str) -> None:
        if self._outcome.fails_at == name and self._outcome.failure is not None:
            raise self._outcome.failure


class _Buffer:
    def __init__(self) -> None:
        self.values = np.zeros(0, np.float32)

    def write(self, values: np.ndarray) -> None:
        self.values = values

    def read(self, count: int, dtype: type) -> np.ndarray:
        assert self.values.size == count
        return self.values.astype(dtype).reshape(-1)
