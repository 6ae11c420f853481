"""Chooses what runs a model, and proves that it does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

from bokeh_runtime.backends.accelerator import RUN_ON_CPU, AcceleratedModel
from bokeh_runtime.backends.gpu_check import check
from bokeh_runtime.backends.interpreter import TfliteModel, installed_interpreters
from bokeh_runtime.backends.placement import Placement, names
from bokeh_runtime.backends.processor import cpu_name
from bokeh_runtime.errors import Argument, HardwareError, InputError
from bokeh_runtime.imaging.photo import FloatImage
from bokeh_runtime.tflite.file import TfliteFile, read_tflite

DELEGATES = ("auto", "cpu", "gpu", "nnapi", "npu")
LAST_ANDROID_WITH_NNAPI = 34  # API level; Android 15 (35) deprecates it
_GETPROP_SECONDS = 10


@dataclass(frozen=True)
class Engine:
    """A model that is ready to run.

    Attributes:
        model: In an interpreter, on the CPU or through a delegate library; or compiled for an
            accelerator.
        placement: Where it runs.
    """

    model: TfliteModel | AcceleratedModel
    placement: Placement

    def run(self, image: FloatImage) -> FloatImage:
        """Returns the output for one picture, not clipped; see `TfliteModel.run`."""
        return self.model.run(image)

    def close(self) -> None:
        """Releases what the model holds; it cannot run any more."""
        self.model.close()


@dataclass(frozen=True)
class Probe:
    """Whether a delegate is here: its device, or why not and what to do about it."""

    delegate: str
    device: str | None
    reason: str = ""


@dataclass(frozen=True)
class EngineOptions:
    """What was asked for.

    Attributes:
        delegate: One of `DELEGATES`.
        threads: Of the CPU; None takes all cores.
        interpreter: A key of `interpreter.INTERPRETERS`; None takes the first installed.
        library: Of an external delegate, for boards that have one.
        allow_partial: The CPU may run what the delegate does not take.
    """

    delegate: str = "auto"
    threads: int | None = None
    interpreter: str | None = None
    library: Path | None = None
    allow_partial: bool = False


def open_engine(file: TfliteFile, request: EngineOptions) -> Engine:
    """Opens a model on the delegate that was asked for.

    Args:
        file: The model.
        request: What was asked for; "auto" takes the first of NPU, GPU and CPU that is here, is
            no imitation, takes the whole model, and draws the right picture.

    Raises:
        InputError: If the request contradicts itself, or the interpreter cannot run the file.
        HardwareError: If what was asked for is not here, or does not take the whole model.
    """
    if request.delegate not in DELEGATES:
        raise InputError(f"delegate '{request.delegate}' is unknown; use {', '.join(DELEGATES)}")
    if request.library is not None:
        if request.delegate in ("auto", "cpu"):
            raise InputError(
                f"{request.library}: a delegate library needs ",
                *(Argument("delegate", "gpu"), ", nnapi or npu to name its hardware"),
            )
        return _from_library(file, request)
    if request.interpreter == "tflite-runtime" and request.delegate in ("gpu", "npu"):
        raise HardwareError(
            f"{request.delegate}: tflite-runtime supports it only with ",
            Argument("delegate_library"),
            remedy=("give that, or use ", Argument("interpreter", "ai-edge-litert")),
        )
    if request.delegate == "cpu":
        return _on_cpu(file, request)
    if request.delegate == "nnapi":
        raise _nnapi_unavailable()
    if request.delegate != "auto":
        return _accelerated(file, request, request.delegate)
    return _automatic(file, request)


def probe() -> list[Probe]:
    """Tries every delegate with a tiny model, and says which are here."""
    tiny = read_tflite(Path(str(files("bokeh_runtime") / "probe.tflite")))
    found = [Probe("cpu", f"{cpu_name()}, {' and '.join(installed_interpreters())}")]
    for kind in ("gpu", "npu"):
        try:
            model = AcceleratedModel(tiny, kind)
        except HardwareError as error:
            found.append(Probe(kind, None, _without_prefix(error)))
        else:
            imitated = " (a CPU that imitates a GPU)" if model.device.software else ""
            found.append(Probe(kind, model.device.name + imitated))
            model.close()
    found.insert(2, Probe("nnapi", None, _without_prefix(_nnapi_unavailable())))
    return found


def _on_cpu(file: TfliteFile, request: EngineOptions, notes: tuple[str, ...] = ()) -> Engine:
    model = TfliteModel(
        file.content,
        threads=request.threads,
        interpreter=request.interpreter,
        name=str(file.path),
    )
    total = len(file.operators)
    device = f"{cpu_name()}, {model.interpreter_name}"
    placement = Placement(request.delegate, "cpu", device, None, total, left=None, notes=notes)
    found = model.nodes_left(file)
    if found is not None:
        left, partitions = found
        placed = total - len(left)
        placement = replace(
            placement,
            device=f"{device}, {'XNNPACK' if placed else 'built-in kernels'}",
            nodes_placed=placed or total,
            left=names(left) if placed else (),
            partitions=partitions if placed else None,
        )
    return Engine(model, placement)


def _accelerated(file: TfliteFile, request: EngineOptions, kind: str) -> Engine:
    threads = request.threads or os.cpu_count() or 1
    if file.image_output_index != 0:  # the buffers of an accelerator have no names to tell them by
        raise HardwareError(
            f"{kind}: the image is not the model's first output",
            remedy=("use ", Argument("delegate", "cpu")),
        )

    def compiled(float32: bool) -> AcceleratedModel:
        return AcceleratedModel(
            file, kind, partial=request.allow_partial, float32=float32, threads=threads
        )

    model = compiled(False)
    if request.delegate == "auto" and model.device.software:
        model.close()
        raise HardwareError(f"{kind}: {model.device.name} is a CPU that imitates a GPU")
    precision, notes = "default", []
    if kind == "gpu":
        model, precision, note = check(
            file, model, lambda: compiled(True), threads, allow_partial=request.allow_partial
        )
        notes = [note] if note else []
        if model.device.software:
            notes.append(
                f"{model.device.name} is a CPU that imitates a GPU: its speed says nothing"
            )
    placement = Placement(
        asked=request.delegate,
        delegate=kind,
        device=model.device.name,
        nodes_placed=model.nodes_placed,
        nodes_total=len(file.operators),
        left=model.left,
        partitions=model.partitions,
        reasons=model.reasons,
        precision=precision,
        notes=notes,
    )
    return Engine(model, placement)


def _automatic(file: TfliteFile, request: EngineOptions) -> Engine:
    refused = []
    if (
        request.interpreter in (None, "ai-edge-litert")
        and "ai-edge-litert" in installed_interpreters()
    ):
        whole = replace(request, allow_partial=False)
        for kind in ("npu", "gpu"):
            try:
                return _accelerated(file, whole, kind)
            except HardwareError as error:
                refused.append(error.cause)
    return _on_cpu(file, request, tuple(refused))


def _from_library(file: TfliteFile, request: EngineOptions) -> Engine:
    assert request.library is not None
    if request.delegate == "nnapi" and not _android_level():
        raise _nnapi_unavailable()
    model = TfliteModel(
        file.content,
        threads=request.threads,
        interpreter=request.interpreter,
        delegate_library=request.library,
        name=str(file.path),
    )
    asked, total = request.delegate, len(file.operators)
    placement = Placement(asked, asked, request.library.name, None, total, left=None)
    found = model.nodes_left(file)
    if found is not None:
        left, partitions = found
        placement = replace(
            placement, nodes_placed=total - len(left), left=names(left), partitions=partitions
        )
    if placement.nodes_placed != total and not request.allow_partial:
        model.close()
        what = (
            "the interpreter does not report which operators it runs"
            if found is None
            else f"does not support {placement.unsupported}"
        )
        raise HardwareError(f"{request.library}: {what}", remedy=RUN_ON_CPU)
    return Engine(model, placement)


def _nnapi_unavailable() -> HardwareError:
    level = _android_level()
    if level is None:
        return HardwareError(
            "nnapi: only available on Android",
            remedy=("use ", Argument("delegate", "cpu"), " or ", Argument("delegate", "gpu")),
        )
    if level > LAST_ANDROID_WITH_NNAPI:
        return HardwareError(
            "nnapi: deprecated since Android 15",
            remedy=("use ", Argument("delegate", "gpu"), " or ", Argument("delegate", "npu")),
        )
    return HardwareError(
        "nnapi: Python needs a delegate library for it",
        remedy=("give one with ", Argument("delegate_library")),
    )


def _android_level() -> int | None:
    """Returns the API level of the Android system that this runs on; None on any other."""
    if sys.platform != "android" and not hasattr(sys, "getandroidapilevel"):
        return None
    command = shutil.which("getprop")
    if command is None:
        return None
    try:
        done = subprocess.run(
            [command, "ro.build.version.sdk"],
            capture_output=True,
            text=True,
            check=False,
            timeout=_GETPROP_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return None
    return int(done.stdout) if done.stdout.strip().isdigit() else None


def _without_prefix(error: HardwareError) -> str:
    return error.cause.partition(": ")[2]
