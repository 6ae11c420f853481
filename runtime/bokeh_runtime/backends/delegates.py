"""Opens a model on a delegate, and determines its placement."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

from bokeh_runtime.backends.accelerator import RUN_ON_CPU, AcceleratedModel
from bokeh_runtime.backends.gpu_check import check
from bokeh_runtime.backends.interpreter import TfliteModel, installed_interpreters
from bokeh_runtime.backends.nnapi import android_level, nnapi_unavailable
from bokeh_runtime.backends.npu import NpuRuntime, find_npu_runtime, is_dispatch_library
from bokeh_runtime.backends.placement import Placement, names
from bokeh_runtime.backends.processor import cpu_name
from bokeh_runtime.errors import Argument, HardwareError, InputError
from bokeh_runtime.imaging.photo import FloatImage
from bokeh_runtime.tflite.file import TfliteFile, read_tflite
from bokeh_runtime.tflite.graph_choice import choose_graph
from bokeh_runtime.tflite.image_ranges import ranges_of
from bokeh_runtime.tflite.value_range import ImageRanges, ValueRange

DELEGATES = ("auto", "cpu", "gpu", "nnapi", "npu")


@dataclass(frozen=True)
class Engine:
    """A model that is ready to run.

    Attributes:
        model: The model in an interpreter, or compiled for an accelerator.
        placement: Where the model runs.
    """

    model: TfliteModel | AcceleratedModel
    placement: Placement

    def run(self, image: FloatImage) -> FloatImage:
        """Runs the model on one image; see `TfliteModel.run`."""
        return self.model.run(image)

    def close(self) -> None:
        """Releases the model's resources. It cannot run afterwards."""
        self.model.close()


@dataclass(frozen=True)
class Probe:
    """Whether a delegate is available.

    Attributes:
        delegate: "cpu", "gpu", "nnapi" or "npu".
        device: Name of its device; None if the delegate is not available.
        reason: Why the delegate is not available; "" if it is.
    """

    delegate: str
    device: str | None
    reason: str = ""


@dataclass(frozen=True)
class EngineOptions:
    """How to run a model.

    Attributes:
        delegate: One of `DELEGATES`.
        threads: Number of CPU threads. None uses all cores.
        interpreter: A key of `interpreter.INTERPRETERS`. None uses the first that is installed.
        library: Shared library of an external delegate, or for "npu" a vendor's dispatch library,
            libLiteRtDispatch_VENDOR.so.
        allow_partial: Whether the CPU may run operators that the delegate does not support.
        input_range: Values of black and white in the input. None goes by the file.
        output_range: The same for the output.
        signature: Name of the signature to run. None takes the only one.
        size: Height and width in pixels of an input whose size is open.
    """

    delegate: str = "auto"
    threads: int | None = None
    interpreter: str | None = None
    library: Path | None = None
    allow_partial: bool = False
    input_range: ValueRange | None = None
    output_range: ValueRange | None = None
    signature: str | None = None
    size: tuple[int, int] | None = None

    def graph_of(self, file: TfliteFile) -> TfliteFile:
        """Returns a file with the chosen graph first; see `graph_choice.choose_graph`."""
        return choose_graph(file, self.signature, self.size)

    def ranges_of(self, file: TfliteFile) -> ImageRanges:
        """Returns the value ranges of a file's input and output."""
        return ranges_of(file, self.input_range, self.output_range)


def open_engine(file: TfliteFile, options: EngineOptions) -> Engine:
    """Opens a model on the requested delegate.

    Args:
        file: The model.
        options: How to run it. "auto" uses the first of NPU, GPU and CPU that is available, is not
            emulated, supports the whole model, and gives the right output.

    Raises:
        InputError: If the options contradict each other, the file has no graph as they ask for, or
            the interpreter cannot run the file.
        HardwareError: If the requested delegate is not available or does not support the whole
            model.
    """
    file = options.graph_of(file)
    if options.delegate not in DELEGATES:
        raise InputError(
            Argument("delegate", options.delegate), f": unknown; use {', '.join(DELEGATES)}"
        )
    if options.library is not None and not (
        options.delegate == "npu" and is_dispatch_library(options.library)
    ):
        if options.delegate in ("auto", "cpu"):
            raise InputError(
                f"{options.library}: the hardware of a delegate library must be given",
                remedy=("use ", Argument("delegate", "gpu"), ", nnapi or npu"),
            )
        return _open_with_library(file, options)
    if options.interpreter == "tflite-runtime" and options.delegate in ("gpu", "npu"):
        raise HardwareError(
            f"{options.delegate}: tflite-runtime supports it only with ",
            Argument("delegate_library"),
            remedy=("give that, or use ", Argument("interpreter", "ai-edge-litert")),
        )
    if options.delegate == "cpu":
        return _open_on_cpu(file, options)
    if options.delegate == "nnapi":
        raise nnapi_unavailable()
    if options.delegate != "auto":
        return _open_on_accelerator(file, options, options.delegate)
    return _open_automatically(file, options)


def probe() -> list[Probe]:
    """Opens a tiny model on each delegate, and returns which delegates are available."""
    tiny = read_tflite(Path(str(files("bokeh_runtime") / "probe.tflite")))
    found = [Probe("cpu", f"{cpu_name()}, {' and '.join(installed_interpreters())}")]
    for kind in ("gpu", "npu"):
        try:
            npu = find_npu_runtime() if kind == "npu" else None
            model = AcceleratedModel(tiny, kind, npu=npu)
        except HardwareError as error:
            found.append(Probe(kind, None, _without_prefix(error)))
        else:
            emulated = kind == "gpu" and model.device.software
            imitated = " (a GPU emulated by the CPU)" if emulated else ""
            found.append(Probe(kind, model.device.name + imitated))
            model.close()
    found.insert(2, Probe("nnapi", None, _without_prefix(nnapi_unavailable())))
    return found


def _open_on_cpu(file: TfliteFile, options: EngineOptions, notes: tuple[str, ...] = ()) -> Engine:
    model = TfliteModel(
        file.content,
        threads=options.threads,
        interpreter=options.interpreter,
        name=str(file.path),
        ranges=options.ranges_of(file),
        size=file.resized_to,
    )
    total = len(file.operators)
    device = f"{cpu_name()}, {model.interpreter_name}"
    placement = Placement(
        options.delegate, "cpu", device, None, total, unsupported_ops=None, notes=notes
    )
    found = model.unsupported_operators(file)
    if found is not None:
        unsupported, partitions = found
        delegated = total - len(unsupported)
        placement = replace(
            placement,
            device=f"{device}, {'XNNPACK' if delegated else 'built-in kernels'}",
            delegated_ops=delegated or total,
            unsupported_ops=names(unsupported) if delegated else (),
            partitions=partitions if delegated else None,
        )
    return Engine(model, placement)


def _open_on_accelerator(file: TfliteFile, options: EngineOptions, kind: str) -> Engine:
    threads, ranges = options.threads or os.cpu_count() or 1, options.ranges_of(file)
    if file.resized_to is not None:
        raise HardwareError(
            f"{kind}: accelerators run a file at its own size and do not resize it",
            remedy=("use ", Argument("delegate", "cpu")),
        )
    if file.image_output_index != 0:  # an accelerator's buffers have no names
        raise HardwareError(
            f"{kind}: the image is not the model's first output",
            remedy=("use ", Argument("delegate", "cpu")),
        )

    npu = _npu_runtime(options) if kind == "npu" else None

    def open_model(force_float32: bool) -> AcceleratedModel:
        return AcceleratedModel(
            file,
            kind,
            allow_partial=options.allow_partial,
            force_float32=force_float32,
            threads=threads,
            ranges=ranges,
            npu=npu,
        )

    model = open_model(False)
    if options.delegate == "auto" and model.device.software:
        model.close()
        raise HardwareError(f"{kind}: {model.device.name} is a GPU emulated by the CPU")
    precision, notes = "default", []
    if npu is not None and npu.software:
        notes = [f"{npu.name} computes on the CPU; its speed is not that of an NPU"]
    if kind == "gpu":
        model, precision, note = check(
            file,
            model,
            lambda: open_model(True),
            threads,
            ranges=ranges,
            allow_partial=options.allow_partial,
        )
        notes = [note] if note else []
        if model.device.software:
            notes.append(
                f"{model.device.name} is a GPU emulated by the CPU; its speed is meaningless"
            )
    placement = Placement(
        requested=options.delegate,
        delegate=kind,
        device=model.device.name,
        delegated_ops=model.delegated_ops,
        total_ops=len(file.operators),
        unsupported_ops=model.unsupported_ops,
        partitions=model.partitions,
        reasons=model.reasons,
        precision=precision,
        notes=notes,
    )
    return Engine(model, placement)


def _npu_runtime(options: EngineOptions) -> NpuRuntime | None:
    """Returns the vendor's software for the NPU; None for what LiteRT finds."""
    if options.library is not None and not options.library.is_file():
        raise InputError(f"{options.library}: no such file; give a vendor's dispatch library")
    npu = find_npu_runtime(options.library)
    # Before the model is compiled, which takes up to a minute.
    if options.delegate == "auto" and npu is not None and npu.software:
        raise HardwareError(f"npu: there is none; {npu.name} would compute on the CPU")
    return npu


def _open_automatically(file: TfliteFile, options: EngineOptions) -> Engine:
    notes = []
    if (
        options.interpreter in (None, "ai-edge-litert")
        and "ai-edge-litert" in installed_interpreters()
    ):
        full_support_only = replace(options, allow_partial=False)
        for kind in ("npu", "gpu"):
            try:
                return _open_on_accelerator(file, full_support_only, kind)
            except HardwareError as error:
                notes.append(error.cause)
    return _open_on_cpu(file, options, tuple(notes))


def _open_with_library(file: TfliteFile, options: EngineOptions) -> Engine:
    assert options.library is not None
    if options.delegate == "nnapi" and not android_level():
        raise nnapi_unavailable()
    model = TfliteModel(
        file.content,
        threads=options.threads,
        interpreter=options.interpreter,
        delegate_library=options.library,
        name=str(file.path),
        ranges=options.ranges_of(file),
        size=file.resized_to,
    )
    delegate, total = options.delegate, len(file.operators)
    placement = Placement(
        delegate, delegate, options.library.name, None, total, unsupported_ops=None
    )
    found = model.unsupported_operators(file)
    if found is not None:
        unsupported, partitions = found
        placement = replace(
            placement,
            delegated_ops=total - len(unsupported),
            unsupported_ops=names(unsupported),
            partitions=partitions,
        )
    if placement.delegated_ops != total and not options.allow_partial:
        model.close()
        cause = (
            "the interpreter does not report which operators it runs"
            if found is None
            else f"does not support {placement.unsupported_text}"
        )
        raise HardwareError(f"{options.library}: {cause}", remedy=RUN_ON_CPU)
    return Engine(model, placement)


def _without_prefix(error: HardwareError) -> str:
    """Returns the cause without the name of the delegate in front."""
    return error.cause.partition(": ")[2]
