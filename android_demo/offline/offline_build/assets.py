"""The models and the reference that the app carries."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from offline_build.errors import OFFLINE, REPOSITORY, BuildError
from offline_build.fetch import expected_hashes, sha256

MODELS = REPOSITORY / "runtime/bokeh_runtime/models"
PACK = "demo_pynet.reference.npz"
LISTING = OFFLINE / "models.sha256"
SHIPPED = {
    "demo_pynet_float16.tflite": "float16.tflite",
    "demo_pynet_int8.tflite": "int8.tflite",
    "demo_student_int8.tflite": "fast.tflite",
}
"""The models that ship, and their names in the app, where `Models.kt` looks for them."""
_SCHEMES = ("float16", "int8")


@dataclass(frozen=True)
class Bundle:
    """What the app carries.

    Attributes:
        models: Paths of the models by their names in the app.
        pack: The reference pack with the full model's outputs.
    """

    models: Mapping[str, Path]
    pack: Path

    def write(self, folder: Path) -> dict[str, str]:
        """Writes the app's assets, and returns their hashes by name."""
        target = folder / "models"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for name, path in self.models.items():
            shutil.copyfile(path, target / name)
        _write_reference(self.pack, target)
        return {f"models/{path.name}": sha256(path) for path in sorted(target.iterdir())}


def shipped(models: Path = MODELS) -> Bundle:
    """Returns the models that ship with the runtime.

    Raises:
        BuildError: If one is missing, or is another than is listed.
    """
    for name, digest in expected_hashes(LISTING).items():
        if not (models / name).is_file():
            raise BuildError(f"{models / name}: is missing; make models")
        check_model(models / name, digest)
    return Bundle({name: models / own for own, name in SHIPPED.items()}, models / PACK)


def converted(folder: Path) -> Bundle:
    """Returns the files that `bokeh-convert --quant float16,int8` has written into a folder.

    Raises:
        BuildError: If the folder lacks the float16 file or the reference pack, or has files of
            several networks; or if the network takes a depth map, which the app has none of.
    """
    packs = sorted(folder.glob("*.reference.npz"))
    if len(packs) != 1:
        raise BuildError(
            f"{folder}: has {len(packs)} reference packs (*.reference.npz), and the app needs one; "
            "give the output folder of one conversion"
        )
    network = packs[0].name.removesuffix(".reference.npz")
    models = {f"{scheme}.tflite": folder / f"{network}_{scheme}.tflite" for scheme in _SCHEMES}
    models = {name: path for name, path in models.items() if path.is_file()}
    if "float16.tflite" not in models:
        raise BuildError(
            f"{folder}: has no {network}_float16.tflite, which the app needs for GPUs; run "
            "bokeh-convert with --quant float16,int8"
        )
    with np.load(packs[0]) as pack:
        channels = pack["inputs"].shape[-1]
    if channels != 3:
        raise BuildError(
            f"{packs[0]}: the network takes {channels} channels, and the app feeds it RGB photos"
        )
    return Bundle(models, packs[0])


def check_model(path: Path, digest: str) -> None:
    """Holds a model against its listed hash.

    Raises:
        BuildError: If it differs.
    """
    if sha256(path) != digest:
        raise BuildError(
            f"{path}: its weights are not those of {LISTING.name}; restore it, or renew the list "
            "with sha256sum if the change is meant"
        )


def _write_reference(pack_path: Path, target: Path) -> None:
    """Writes the first photo of the reference pack: 8-bit input, then the full model's floats."""
    with np.load(pack_path) as pack:
        name, source = str(pack["names"][0]), str(pack["source_sha256"])
        photo, wanted = pack["inputs"][0], pack["outputs"][0]
    (target / "reference.bin").write_bytes(photo.tobytes() + wanted.astype("<f4").tobytes())
    said = {
        "name": name,
        "input_shape": list(photo.shape),
        "output_shape": list(wanted.shape),
        "source_sha256": source,
    }
    (target / "reference.json").write_text(json.dumps(said, indent=1), encoding="utf-8")
