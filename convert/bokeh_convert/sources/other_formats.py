"""Tells model files of other kinds, and what leads from them to a source that can be read."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from bokeh_runtime.errors import InputError

_ZIP, _PICKLE = b"PK", re.compile(rb"\x80[\x02-\x05]")
CHECKPOINT_PART = re.compile(r"\.(index|meta|data-\d{5}-of-\d{5})$")
"""The ends of the names of a checkpoint's files."""
_FROM_TORCH = (
    "export it to ONNX with torch.onnx.export, make a SavedModel of that with the package onnx2tf, "
    "and give that folder"
)

_GRAPH = (
    "is a TensorFlow 1 graph; import it with tf.compat.v1.import_graph_def, save it with "
    "tf.compat.v1.saved_model.simple_save, and give that folder"
)
_ARCHITECTURE = (
    "is a text, and a network's architecture holds no weights; load the weights into it and save "
    "the whole model with model.save()"
)
_BY_SUFFIX = {
    **dict.fromkeys((".pb", ".pbtxt"), _GRAPH),
    ".onnx": (
        "is an ONNX file; make a SavedModel of it with the package onnx2tf, and give that folder"
    ),
    **dict.fromkeys((".pth", ".pt", ".ckpt"), f"is a PyTorch file; {_FROM_TORCH}"),
    **dict.fromkeys((".json", ".yaml", ".yml"), _ARCHITECTURE),
}


def refuse_other_formats(path: Path, start: bytes) -> None:
    """Refuses a file that no format recognizes, and says how to make one of it that can be read.

    Args:
        path: The file.
        start: Its first bytes, at least 8 if it has as many.

    Raises:
        InputError: If it is a model of another kind, which is told by its content or its suffix,
            or an archive.
    """
    found = _by_content(path, start) or _by_name(path) or _as_archive(path, start)
    if found is not None:
        raise InputError(f"{path}: {found}")


def _by_content(path: Path, start: bytes) -> str | None:
    if start[4:8] == b"TFL3":
        return (
            "is a .tflite file, which is converted already; run it with bokeh-render or "
            "bokeh-bench, or give the trained model that it was made from"
        )
    if start.startswith(_ZIP):
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except (zipfile.BadZipFile, NotImplementedError, OSError):
            return None  # Its name may say more.
        if any(name.endswith("/data.pkl") or name == "data.pkl" for name in names):
            return f"is a PyTorch file; {_FROM_TORCH}"
        if names and all(name.endswith(".npy") for name in names):
            return "holds NumPy arrays; load them into the network and save it with model.save()"
    if _PICKLE.match(start):
        return (
            "is a pickle, and opening a pickle may run any code; of PyTorch: "
            f"{_FROM_TORCH}; of Keras: save the model with model.save()"
        )
    return None


def _by_name(path: Path) -> str | None:
    if path.name in ("saved_model.pb", "saved_model.pbtxt", "keras_metadata.pb"):
        return f"is a part of a SavedModel; give its folder, {path.parent}"
    part = CHECKPOINT_PART.search(path.name)
    if part:
        prefix = path.name[: part.start()]
        return f"is a part of a checkpoint, and {prefix}.index is not beside it; copy all its parts"
    return _BY_SUFFIX.get(path.suffix.lower())


def _as_archive(path: Path, start: bytes) -> str | None:
    if not start.startswith(_ZIP):
        return None
    try:
        with zipfile.ZipFile(path):
            return "the archive has no Keras model; give a .keras file"
    except NotImplementedError as error:
        return f"the archive cannot be unpacked ({error}); save it again"
    except (zipfile.BadZipFile, OSError):
        return "the archive is truncated or damaged; copy it again"
