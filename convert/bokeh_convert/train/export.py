"""Saves a trained model as a small `.h5` file for any version of Keras 3."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import h5py
import keras

from bokeh_convert.pynet.network import pynet
from bokeh_convert.train.trainer import TrainConfig
from bokeh_runtime.atomic_output import AtomicOutput

_COMPRESS_FROM_BYTES = 1024


def export(trained: keras.Model, config: TrainConfig, path: Path) -> None:
    """Writes the model with the single output `config.head`, without a fixed input size.

    Args:
        trained: The result of `train` or `load_averaged`.
        config: The configuration of the run.
        path: An .h5 file; replaced atomically.

    Raises:
        InputError: If the file cannot be written.
    """
    if config.int8_steps:  # its layers are not those of `pynet`
        save_portable(trained, path)
        return
    model = pynet(
        width=config.width,
        input_channels=config.input_channels,
        heads=(config.head,),
        residual=config.residual,
    )
    for layer in model.layers:
        layer.set_weights(trained.get_layer(layer.name).get_weights())
    save_portable(model, path)


def save_portable(model: keras.Model, path: Path) -> None:
    """Writes a model so that any version of Keras 3 can read it.

    Args:
        model: The model.
        path: An .h5 file; replaced atomically.

    Raises:
        InputError: If the file cannot be written.
    """
    with AtomicOutput(path.parent) as staging, tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.h5"
        model.save(plain)
        _repack(plain, staging.path(path.name))
        staging.commit()


def _repack(source: Path, target: Path) -> None:
    """Copies an HDF5 file with lossless compression of its large arrays."""
    # The file format of HDF5 1.10 stores hundreds of small groups in a fraction of the default
    # format's space. Not all versions of h5py can read a newer format.
    with h5py.File(source, "r") as old, h5py.File(target, "w", libver=("v110", "v110")) as new:
        _copy(old, new)


def _portable(config: Any) -> Any:
    """Returns a model configuration without the initializer fields that are None.

    New versions of Keras write fields that old versions refuse. None is their default, and a
    trained model does not need its initializers.
    """
    if isinstance(config, list):
        return [_portable(value) for value in config]
    if not isinstance(config, dict):
        return config
    kept = {key: _portable(value) for key, value in config.items()}
    if config.get("module") == "keras.initializers":
        kept["config"] = {key: v for key, v in kept["config"].items() if v is not None}
    return kept


def _copy(old: h5py.Group, new: h5py.Group) -> None:
    for key, value in old.attrs.items():
        # Changed before it is written: HDF5 does not free the space of an overwritten value.
        portable = key == "model_config"
        new.attrs[key] = json.dumps(_portable(json.loads(value))) if portable else value
    for name, item in old.items():
        if isinstance(item, h5py.Group):
            _copy(item, new.create_group(name))
        else:
            filters: dict[str, Any] = {}
            if item.nbytes >= _COMPRESS_FROM_BYTES:
                filters = {"compression": "gzip", "compression_opts": 9, "shuffle": True}
                filters["chunks"] = item.shape  # one chunk, because arrays are read as a whole
            new.create_dataset(name, data=item[()], **filters)
