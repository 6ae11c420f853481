"""Runs a .tflite file on XNNPACK's ARM kernels under QEMU and counts instructions."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bokeh_bench import child_process
from bokeh_bench.devices.arm64.profiles import DEFAULT_PROFILE, Profile
from bokeh_runtime.errors import HardwareError
from bokeh_runtime.tflite.value_range import UNIT_RANGES, ImageRanges, ValueRange

NEEDS_LINUX = "arm64: a phone's CPU kernels run under QEMU on Linux alone; use --device android"
FOLDER = Path("build/arm64")
"""Folder of the environment that `make arm64` sets up, in a checkout of the project."""
_NEEDED = ("root", "site", "count.so")


class MissingEnvironmentError(HardwareError):
    """The environment is missing. The message says how to set it up."""


@dataclass(frozen=True)
class ArmRun:
    """Result of running a model on the ARM kernels.

    Attributes:
        outputs: float32 [n, height, width, 3 or 1] in about [0, 1], not clipped.
        instructions: Number of instructions of the whole process, including Python's start.
    """

    outputs: npt.NDArray[np.float32]
    instructions: int


class ArmRunner:
    """Runs models as on one of the CPUs of `PROFILES`, with one thread.

    Args:
        folder: The environment, set up by `bokeh_bench.devices.arm64.environment`.
        profile: The CPU.
        seconds: Time limit for loading a model, and again for each photo.

    Raises:
        MissingEnvironmentError: If the environment is missing.
    """

    def __init__(
        self,
        folder: Path,
        profile: Profile = DEFAULT_PROFILE,
        seconds: float = child_process.TIMEOUT_SECONDS,
    ) -> None:
        if sys.platform != "linux":
            raise MissingEnvironmentError(NEEDS_LINUX)
        if not all((folder / name).exists() for name in _NEEDED):
            raise MissingEnvironmentError(
                f"{folder}: no ARM environment; set it up with: make arm64 (in a checkout of "
                f"bokeh-tflite), or python -m bokeh_bench.devices.arm64.environment {folder}"
            )
        self.profile = profile
        self._folder, self._seconds = folder.resolve(), seconds

    def run(
        self, content: bytes, inputs: npt.NDArray[np.uint8], ranges: ImageRanges = UNIT_RANGES
    ) -> ArmRun:
        """Runs a model on photos, once each.

        Args:
            content: Content of the .tflite file.
            inputs: uint8 [n, height, width, channels]; 0 to 255 stand for 0 to 1.
            ranges: Value ranges of the network's input and output.

        Raises:
            RuntimeError: If the model does not run, or not within the time limit.
        """
        limit = (len(inputs) + 1) * self._seconds
        with tempfile.TemporaryDirectory() as name:
            work = Path(name)
            (work / "model.tflite").write_bytes(content)
            (work / "cpuinfo").write_text(self.profile.cpuinfo)
            np.save(work / "inputs.npy", inputs)
            try:
                done = child_process.run(self._command(work, ranges.input), seconds=limit)
            except child_process.TimeLimitError as error:
                raise RuntimeError(f"the model {error} on {self.profile.name}") from error
            if done.returncode:
                last = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
                raise RuntimeError(f"the model does not run on {self.profile.name}: {last[-1]}")
            instructions = int((work / "count").read_text())
            outputs = ranges.output.to_unit(np.load(work / "outputs.npy"))
            return ArmRun(outputs, instructions)

    def _command(self, work: Path, input_range: ValueRange) -> list[str]:
        folder = self._folder
        guest = Path(__file__).with_name("guest.py")
        environment = {
            "PYTHONHOME": folder / "root/usr",
            "PYTHONPATH": folder / "site",
            "OPENBLAS_NUM_THREADS": 1,
        }
        emulator = [
            *("qemu-aarch64", "-cpu", self.profile.emulator_cpu, "-L", folder / "root"),
            *("-plugin", f"{folder / 'count.so'},count={work / 'count'}"),
            *(word for item in environment.items() for word in ("-E", "=".join(map(str, item)))),
            *(folder / "root/usr/bin/python3.11", guest),
            *(work / "model.tflite", work / "inputs.npy", work / "outputs.npy"),
            *(input_range.low, input_range.high),
        ]
        # The replaced /proc/cpuinfo is visible to this process only.
        inside = f"mount --bind {shlex.quote(str(work / 'cpuinfo'))} /proc/cpuinfo && exec "
        private = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
        return [*private, "sh", "-c", inside + shlex.join(str(word) for word in emulator)]
