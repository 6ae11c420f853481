"""Finds what LiteRT needs to use an NPU: a vendor's dispatch library and its compiler plugin.

The dispatch library hands a compiled model to the NPU. On a phone or a board it comes with the
vendor's software. For Intel it is a part of LiteRT's package, and `openvino` is the rest; on a
computer without an NPU, OpenVINO computes on the CPU then.
"""

from __future__ import annotations

import functools
import importlib.util
import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bokeh_runtime.backends.processor import cpu_name
from bokeh_runtime.tflite.file import TfliteFile

DISPATCH_OP = "DISPATCH_OP"
"""Custom operator that stands for a part of the model that was compiled for an NPU in advance."""
_DISPATCH_LIBRARY = re.compile(r"(?:lib)?LiteRtDispatch_(?P<vendor>\w+)\.(?:so|dll|dylib)")
_STAMP = "LiteRtStamp"
"""Metadata entry of a compiled file: the vendor and the chip, each followed by zeros."""


@dataclass(frozen=True)
class NpuRuntime:
    """A vendor's software for its NPUs.

    Attributes:
        name: Its name, for people.
        dispatch: Folder of the dispatch library.
        compiler: Folder of the compiler plugin; "" if there is none, so that only files run that
            were compiled in advance.
        openvino_device: "NPU" or "CPU" for OpenVINO, which has both; "" for others.
    """

    name: str
    dispatch: str
    compiler: str = ""
    openvino_device: str = ""

    @property
    def software(self) -> bool:
        """Whether the CPU computes what an NPU would."""
        return self.openvino_device == "CPU"

    @property
    def device(self) -> str:
        """Name of the device."""
        return f"{self.name} on {cpu_name()}, not an NPU" if self.software else self.name

    def environment(self, litert: Any) -> Any:
        """Returns LiteRT's environment with these libraries."""
        return litert.Environment.create(
            compiler_plugin_path=self.compiler, dispatch_library_path=self.dispatch
        )

    def options(self, litert: Any) -> dict[str, Any]:
        """Returns the vendor's part of LiteRT's options."""
        if not self.openvino_device:
            return {}
        devices = litert.IntelOpenVinoOptions.GRAPH_BACKEND
        return {
            "intel_openvino_options": litert.IntelOpenVinoOptions(
                graph_backend=devices[self.openvino_device]
            )
        }


def is_dispatch_library(library: Path) -> bool:
    """Whether a file is a vendor's dispatch library, by its name: libLiteRtDispatch_VENDOR.so."""
    return _DISPATCH_LIBRARY.fullmatch(library.name) is not None


def find_npu_runtime(library: Path | None = None) -> NpuRuntime | None:
    """Returns the software for the NPU; None if there is none.

    Args:
        library: A vendor's dispatch library. None for OpenVINO, if it is installed.
    """
    if library is not None:
        named = _DISPATCH_LIBRARY.fullmatch(library.name)
        folder = str(library.resolve().parent)
        has_compiler = any(library.resolve().parent.glob("*LiteRtCompilerPlugin_*"))
        name = named["vendor"] if named else library.name
        return NpuRuntime(name, folder, folder if has_compiler else "")
    return _openvino()


def compiled_for(file: TfliteFile) -> str | None:
    """Returns for which NPU a file was compiled in advance, such as "Qualcomm SM8650".

    None if it was not compiled for one.
    """
    if not any(operator.name == DISPATCH_OP for operator in file.operators):
        return None
    parts = file.metadata.get(_STAMP, b"").split(b"\0")
    names = [part.decode("ascii", "replace") for part in parts if part.isalnum()]
    return " ".join(names[:2]) or "an NPU that it does not name"


@functools.cache
def _openvino() -> NpuRuntime | None:
    litert = importlib.util.find_spec("ai_edge_litert")
    if litert is None or litert.origin is None or importlib.util.find_spec("openvino") is None:
        return None
    vendor = Path(litert.origin).parent / "vendors/intel_openvino"
    dispatch, compiler = vendor / "dispatch", vendor / "compiler"
    if not any(dispatch.glob("*LiteRtDispatch_*")):
        return None
    try:
        import openvino

        devices = openvino.Core().available_devices
        name = f"Intel OpenVINO {version('openvino')}"
    # One for another processor, or a folder that only has the name.
    except (ImportError, AttributeError, RuntimeError, PackageNotFoundError):
        return None
    device = "NPU" if "NPU" in devices else "CPU"
    return NpuRuntime(name, str(dispatch), str(compiler), device)
