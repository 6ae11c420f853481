"""Runs one compiled part on Qualcomm's emulator, in a process of its own.

`python -m bokeh_convert.npu.emulator_process FOLDER NAME TYPE SHAPE` reads part.bin and input.npy
in FOLDER and writes output.npy there. NAME is the part's entry point; TYPE and SHAPE are those of
its output.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # at run time only where they are used: they come with an extra
    import onnx
    import onnxruntime

_PROVIDER = "QNNExecutionProvider"
_IR_VERSION, _OPSET = 9, 17


def main(folder: Path, name: str, dtype: str, shape: tuple[int, ...]) -> None:
    """Runs the part."""
    part, tensor = (folder / "part.bin").read_bytes(), np.load(folder / "input.npy")
    session = _open(_model(part, name, tensor, np.dtype(dtype), shape))
    np.save(folder / "output.npy", session.run(None, {"input": tensor})[0])


def _model(
    part: bytes, name: str, tensor: np.ndarray, dtype: np.dtype, shape: tuple[int, ...]
) -> bytes:
    """Returns an ONNX file whose only node is the compiled part."""
    from onnx import helper

    def info(label: str, kind: np.dtype, size: tuple[int, ...]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(label, helper.np_dtype_to_tensor_dtype(kind), size)

    node = helper.make_node(
        "EPContext",
        ["input"],
        ["output"],
        domain="com.microsoft",
        source="QNN",
        partition_name=name,
        ep_cache_context=part,
        embed_mode=1,
        main_context=1,
    )
    graph = helper.make_graph(
        [node], "part", [info("input", tensor.dtype, tensor.shape)], [info("output", dtype, shape)]
    )
    domains = [helper.make_opsetid("", _OPSET), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=domains, ir_version=_IR_VERSION)
    content: bytes = model.SerializeToString()
    return content


def _open(model: bytes) -> onnxruntime.InferenceSession:
    import onnxruntime
    import onnxruntime_qnn

    onnxruntime.register_execution_provider_library(_PROVIDER, onnxruntime_qnn.get_library_path())
    devices = [each for each in onnxruntime.get_ep_devices() if each.ep_name == _PROVIDER]
    if not devices:
        raise SystemExit("onnxruntime-qnn offers no device")
    options = onnxruntime.SessionOptions()
    # Otherwise ONNX Runtime may compute on the CPU what the emulator refuses.
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    options.add_provider_for_devices(
        devices[:1], {"backend_path": onnxruntime_qnn.get_qnn_htp_path()}
    )
    session = onnxruntime.InferenceSession(model, options)
    if session.get_providers()[0] != _PROVIDER:
        raise SystemExit(f"ONNX Runtime chose {session.get_providers()[0]}")
    return session


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], tuple(map(int, sys.argv[4].split(","))))
