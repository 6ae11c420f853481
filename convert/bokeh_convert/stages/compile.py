"""Compiles a file for the NPUs that were asked for, and runs the result on their emulators."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from bokeh_convert.npu.compiler import NpuBuild, compile_file
from bokeh_convert.npu.emulator import Emulator, emulator_name
from bokeh_convert.npu.libraries import Toolchain, find_toolchain
from bokeh_convert.options import ConvertOptions
from bokeh_convert.progress import Steps
from bokeh_convert.stages.complete import Completed
from bokeh_convert.stages.read import Source
from bokeh_convert.verify.verification import InvalidOutputError, verify_run
from bokeh_runtime.imaging.photo import FloatImage
from bokeh_runtime.metrics.fidelity import Fidelity


@dataclass(frozen=True)
class Emulation:
    """What the emulator computed.

    Attributes:
        computed_by: The emulator and its version.
        fidelity: The comparison with the full model; None if the output is invalid.
        outputs: Network output per photo, float [height, width, 3] in [0, 1]; empty if invalid.
        invalid_output: What is wrong with the output; None if it is valid.
        seconds_per_photo: Mean duration.
    """

    computed_by: str
    fidelity: Fidelity | None
    outputs: Sequence[FloatImage]
    invalid_output: str | None
    seconds_per_photo: float


@dataclass(frozen=True)
class NpuResult:
    """A file that was compiled for one NPU.

    Attributes:
        build: What the compiler made of it.
        emulation: What the emulator computed; None if that was not asked for, or the NPU does not
            run the whole file.
    """

    build: NpuBuild
    emulation: Emulation | None = None

    def is_written(self, *, allow_partial: bool) -> bool:
        """Whether the compiled file is a result of the conversion."""
        partial = self.build.content is not None and self.build.taken > 0
        return self.build.whole or (allow_partial and partial)


@dataclass(frozen=True)
class CompiledFile:
    """A file, and the same compiled for NPUs.

    Attributes:
        completed: The file.
        npus: One result for each NPU; empty if the file did not pass.
    """

    completed: Completed
    npus: Sequence[NpuResult] = ()


def compile_for_npus(
    completed: Completed, source: Source, options: ConvertOptions, steps: Steps
) -> CompiledFile:
    """Compiles a file that passed for each NPU in `options.npu.targets`.

    Raises:
        HardwareError: If a compiler or an emulator is missing or fails.
    """
    if not completed.judged.passed:
        return CompiledFile(completed)
    scheme = completed.judged.verified.quantized.scheme.name
    results = []
    for npu in options.npu.targets:
        steps.next(f"compiling {scheme} for {npu.name}")
        toolchain = find_toolchain(npu)
        build = compile_file(completed.content, npu, toolchain)
        emulation = None
        if options.npu.photos and build.whole:
            steps.begin(f"emulating {scheme} on {npu.name}, about a minute per photo")
            emulation = _emulate(build, toolchain, source, options.npu.photos, steps)
        results.append(NpuResult(build, emulation))
    return CompiledFile(completed, results)


def _emulate(
    build: NpuBuild, toolchain: Toolchain, source: Source, photos: int, steps: Steps
) -> Emulation:
    assert build.content is not None
    emulator = Emulator(build.content, source.sized.ranges)
    reference = source.reference.first(photos)
    name, start = emulator_name(toolchain), time.monotonic()
    fidelity: Fidelity | None = None
    outputs: Sequence[FloatImage] = ()
    invalid = None
    try:
        fidelity, outputs = verify_run(emulator.run, reference, on_photo=steps.next)
    except InvalidOutputError as error:
        invalid = str(error)
    seconds = (time.monotonic() - start) / len(reference.names)
    return Emulation(name, fidelity, outputs, invalid, round(seconds, 2))
