"""The reference pack: photos and the outputs of the full model, to measure fidelity anywhere."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.photo import FloatImage
from bokeh_runtime.tflite.metadata import ModelMetadata


@dataclass(frozen=True)
class Reference:
    """Outputs of the full model for photos that were not used for calibration.

    Attributes:
        names: Names of the photos.
        inputs: uint8 [height, width, channels] each. Divided by 255, they are the model's input.
        outputs: float32 [output height, output width, 3] each, clipped to [0, 1].
        source_sha256: Hash of the full model's files, in hex; "" if it is unknown.
    """

    names: Sequence[str]
    inputs: Sequence[npt.NDArray[np.uint8]]
    outputs: Sequence[FloatImage]
    source_sha256: str = ""

    def first(self, photos: int) -> Reference:
        """Returns the reference of the first photos."""
        return Reference(
            self.names[:photos], self.inputs[:photos], self.outputs[:photos], self.source_sha256
        )


@dataclass(frozen=True)
class EmulatedOutputs:
    """What an emulator computed for the first photos of a pack.

    Attributes:
        name: Scheme and NPU, such as "int8_qualcomm-SM8650".
        computed_by: The emulator and its version.
        outputs: float32 [output height, output width, 3] each, clipped to [0, 1].
    """

    name: str
    computed_by: str
    outputs: Sequence[FloatImage]


def save_reference(
    path: Path, reference: Reference, emulated: Sequence[EmulatedOutputs] = ()
) -> None:
    """Writes a reference pack as a compressed .npz file.

    Its arrays are `names` [n], `inputs` uint8 [n, h, w, c], `outputs` float32 [n, H, W, 3] and
    `source_sha256`. With emulated outputs, there is also `emulated_NAME` float32 [m, H, W, 3] for
    each, of the first m photos, and `computed_by`: a JSON object that says for each array of
    outputs what computed it. Without `computed_by`, the full model computed `outputs`.
    """
    more: dict[str, Any] = {
        f"emulated_{each.name}": np.stack(each.outputs).astype(np.float32) for each in emulated
    }
    if more:
        computed_by = {f"emulated_{each.name}": each.computed_by for each in emulated}
        more["computed_by"] = np.array(json.dumps({"outputs": "the full model", **computed_by}))
    with path.open("wb") as file:
        np.savez_compressed(
            file,
            names=np.array(reference.names),
            inputs=np.stack(reference.inputs),
            outputs=np.stack(reference.outputs).astype(np.float32),
            source_sha256=np.array(reference.source_sha256),
            **more,
        )


def load_reference(path: Path) -> Reference:
    """Reads a reference pack that `save_reference` wrote.

    Raises:
        InputError: If the file is missing, damaged, or not a reference pack.
    """
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            names = [str(name) for name in arrays["names"]]
            source = str(arrays["source_sha256"])
            inputs, outputs = arrays["inputs"], arrays["outputs"]
            if inputs.dtype != np.uint8 or outputs.dtype != np.float32:
                raise ValueError(f"inputs of {inputs.dtype}, outputs of {outputs.dtype}")
            if (
                inputs.ndim != 4
                or outputs.ndim != 4
                or not len(names) == len(inputs) == len(outputs)
            ):
                raise ValueError("the shapes of its arrays do not match")
            return Reference(names, list(inputs), list(outputs), source)
    except FileNotFoundError as error:
        raise InputError(
            f"{path}: no such file; give the .reference.npz of a conversion"
        ) from error
    except (
        OSError, ValueError, KeyError, EOFError, MemoryError, NotImplementedError, RuntimeError,
        zipfile.BadZipFile, zlib.error,
    ) as error:  # fmt: skip
        raise InputError(f"{path}: is not a reference pack; give a .reference.npz") from error


def find_reference_path(model: Path, metadata: ModelMetadata | None) -> Path | None:
    """Returns the path of the reference pack next to a model; None if there is none.

    It is the one of the model's conversion, else one of the model's teacher.

    Args:
        model: Path of the .tflite file.
        metadata: Metadata of that file.
    """
    if metadata is None:
        return None
    stem = model.stem.removesuffix(".failed")
    # The NPU that the file is compiled for, if it is.
    plain, ending, _ = stem.rpartition(f"_{metadata.scheme}.")
    stem = plain if ending else stem.removesuffix(f"_{metadata.scheme}")
    path = model.with_name(f"{stem}.reference.npz")
    if path.is_file():
        return path
    teacher = metadata.source.get("teacher_sha256")
    others = sorted(model.parent.glob("*.reference.npz")) if teacher else []
    return next((other for other in others if _source_sha256(other) == teacher), None)


def _source_sha256(path: Path) -> str | None:
    """Returns the hash of a pack's full model; None if it cannot be read."""
    try:
        return load_reference(path).source_sha256
    except InputError:
        return None


def find_reference(model: Path, metadata: ModelMetadata | None) -> Reference | None:
    """Loads the reference pack next to a model; returns None if there is none.

    Args:
        model: Path of the .tflite file.
        metadata: Metadata of that file.

    Raises:
        InputError: If the pack exists but cannot be read.
    """
    path = find_reference_path(model, metadata)
    return None if path is None else load_reference(path)
