"""Runs a file that was compiled for Qualcomm's NPU on Qualcomm's emulator, on this computer.

The emulator is the library libQnnHtp.so for x86-64. ONNX Runtime calls it: the compiled part is the
only node of an ONNX graph. Each image is run in a process of its own (`emulator_process`), since
Qualcomm's libraries write to the standard streams and take a minute, in which nothing else of this
process has to wait for them.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bokeh_convert.npu.compiled_file import CompiledPart, compiled_parts
from bokeh_convert.npu.libraries import QNN_PACKAGE, Toolchain
from bokeh_convert.npu.vendors import NpuTarget
from bokeh_runtime.backends.interpreter import from_tensor, to_tensor
from bokeh_runtime.errors import Argument, HardwareError, InputError
from bokeh_runtime.imaging.photo import FloatImage
from bokeh_runtime.tflite.value_range import UNIT_RANGES, ImageRanges

TIMEOUT_S = 3600
_MODULES = ("onnx", "onnxruntime", "onnxruntime_qnn")


def require_emulator(npus: Sequence[NpuTarget]) -> None:
    """Checks that there is an emulator of each NPU.

    Raises:
        InputError: If there is none for a vendor's NPUs.
        HardwareError: If it is not installed.
    """
    for npu in npus:
        if not npu.vendor.has_emulator:
            raise InputError(
                Argument("emulate_photos"), f": there is no emulator of {npu.vendor.title}'s NPUs"
            )
    missing = [name for name in _MODULES if importlib.util.find_spec(name) is None]
    if npus and missing:
        raise HardwareError(
            Argument("emulate_photos"), f": {', '.join(missing)} is not installed; "
            f"{npus[0].vendor.install}",
        )  # fmt: skip


def emulator_name(toolchain: Toolchain) -> str:
    """Returns what computes the output, for reports."""
    return f"HTP emulator of {QNN_PACKAGE} {toolchain.versions.get(QNN_PACKAGE, 'unknown')}"


class Emulator:
    """A compiled file on the emulator.

    Args:
        content: The compiled file, of which the NPU runs the whole graph.
        ranges: Value ranges of the network's input and output.

    Raises:
        InputError: If the file is not one compiled part.
    """

    def __init__(self, content: bytes, ranges: ImageRanges = UNIT_RANGES) -> None:
        parts = compiled_parts(content)
        if len(parts) != 1 or len(parts[0].inputs) != 1 or len(parts[0].outputs) != 1:
            raise InputError(
                f"the emulator runs files that are compiled as one part; this one has {len(parts)}"
            )
        self._part: CompiledPart = parts[0]
        self._ranges = ranges

    def run(self, image: FloatImage) -> FloatImage:
        """Runs the file on one image, which takes from seconds to minutes.

        Args:
            image: float32 [height, width, channels] in [0, 1].

        Returns:
            float32 [output height, output width, 3], about in [0, 1], not clipped.

        Raises:
            HardwareError: If the emulator fails.
        """
        source, result = self._part.inputs[0], self._part.outputs[0]
        values = self._ranges.input.from_unit(image)
        tensor = to_tensor(values, source.dtype, source.quantization)[None]
        output = from_tensor(self._infer(tensor)[0], result.quantization)
        return self._ranges.output.to_unit(output)

    def _infer(self, tensor: np.ndarray) -> np.ndarray:
        source, result = self._part.inputs[0], self._part.outputs[0]
        with tempfile.TemporaryDirectory(prefix="bokeh-npu-") as name:
            folder = Path(name)
            (folder / "part.bin").write_bytes(self._part.content)
            np.save(folder / "input.npy", tensor)
            command = [
                *(sys.executable, "-m", "bokeh_convert.npu.emulator_process"),
                *(name, self._part.name, result.dtype, ",".join(map(str, result.shape))),
            ]
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, errors="replace", check=False,
                    timeout=TIMEOUT_S,
                )  # fmt: skip
            except subprocess.TimeoutExpired as error:
                raise HardwareError(f"the emulator did not end within {TIMEOUT_S} s") from error
            if done.returncode:
                lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
                raise HardwareError(f"the emulator failed: {lines[-1].strip()}")
            output: np.ndarray = np.load(folder / "output.npy")
        if output.shape != result.shape or output.dtype != np.dtype(result.dtype):
            raise HardwareError(
                f"the emulator's output is {output.dtype} {output.shape} for a {source.dtype} input"
            )
        return output
