"""Saves a trained model as a small `.h5` file that any Keras 3 opens."""

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
    """Writes the model that outputs `config.head`, with an open input size.

    Args:
        trained: What `train` or `averaged` returned.
        config: Of the run.
        path: An .h5 file; replaced as a whole.

    Raises:
        InputError: If it cannot be written.
    """
    model = pynet(
        width=config.width,
        input_channels=config.input_channels,
        heads=(config.head,),
        residual=config.residual,
    )
    for layer in model.layers:
        layer.set_weights(trained.get_layer(layer.name).get_weights())
    with AtomicOutput(path.parent) as staging, tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.h5"
        model.save(plain)
        _repack(plain, staging.path(path.name))
        staging.commit()


def _repack(source: Path, target: Path) -> None:
    """Copies an HDF5 file with its large arrays compressed, without loss."""
    # HDF5 1.10's layout stores hundreds of small groups in a fraction of the default's space; a
    # newer one is not read by every h5py.
    with h5py.File(source, "r") as old, h5py.File(target, "w", libver=("v110", "v110")) as new:
        _copy(old, new)


def _portable(config: Any) -> Any:
    """Drops what initializers hold at None: newer versions of Keras write fields that older refuse.

    None is their default, and a trained model needs no initializer.
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
        # Not overwritten later: HDF5 would keep the space of the first.
        portable = key == "model_config"
        new.attrs[key] = json.dumps(_portable(json.loads(value))) if portable else value
    for name, item in old.items():
        if isinstance(item, h5py.Group):
            _copy(item, new.create_group(name))
        else:
            filters: dict[str, Any] = {}
            if item.nbytes >= _COMPRESS_FROM_BYTES:
                filters = {"compression": "gzip", "compression_opts": 9, "shuffle": True}
                filters["chunks"] = item.shape  # one chunk: arrays are read whole
            new.create_dataset(name, data=item[()], **filters)
