"""The models and the reference that the app carries."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np

from offline_build.errors import OFFLINE, REPOSITORY, BuildError
from offline_build.fetch import expected_hashes, sha256

MODELS = REPOSITORY / "runtime/bokeh_runtime/models"
PACK = MODELS / "demo_pynet.reference.npz"
LISTING = OFFLINE / "models.sha256"


def write_assets(folder: Path, models: Path = MODELS) -> dict[str, str]:
    """Writes the app's assets, and returns their hashes by name.

    Raises:
        BuildError: If a model is missing, or is another than is listed.
    """
    target = folder / "models"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name, digest in expected_hashes(LISTING).items():
        source = models / name
        if not source.is_file():
            raise BuildError(f"{source}: is missing; make models")
        check_model(source, digest)
        shutil.copyfile(source, target / name)
    _write_reference(target)
    return {f"models/{path.name}": sha256(path) for path in sorted(target.iterdir())}


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


def _write_reference(target: Path) -> None:
    """Writes the first photo of the reference pack: 8-bit input, then the full model's floats."""
    with np.load(PACK) as pack:
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
