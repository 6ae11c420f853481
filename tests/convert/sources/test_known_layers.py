"""Whose layer a name stands for, and the user's own layers."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from bokeh_convert.sources import SourceOptions, read_model
from bokeh_convert.sources.known_layers import ContribInstanceNormalization
from bokeh_runtime import InputError
from helpers.models import save_keras_2

MODULE = """
import tensorflow as tf
from tensorflow.keras import layers

class Twice(layers.Layer):
    def call(self, x):
        return tf.clip_by_value(2 * x, 0, 1)
"""


class InstanceNormalization(tf_keras.layers.Layer):  # type: ignore[misc]
    """The layer of keras-contrib, whose epsilon is added to the standard deviation."""

    def __init__(self, axis: int | None = None, epsilon: float = 1e-3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis, self.epsilon = axis, epsilon

    def build(self, shape: Any) -> None:
        channels = (1,) if self.axis is None else (shape[-1],)
        self.gamma = self.add_weight(name="gamma", shape=channels, initializer="ones")
        self.beta = self.add_weight(name="beta", shape=channels, initializer="zeros")

    def call(self, x: Any) -> Any:
        axes = (1, 2, 3) if self.axis is None else (1, 2)
        mean = tf.reduce_mean(x, axes, keepdims=True)
        deviation = tf.sqrt(tf.reduce_mean((x - mean) ** 2, axes, keepdims=True)) + self.epsilon
        return (x - mean) / deviation * self.gamma + self.beta

    def get_config(self) -> dict[str, Any]:
        names = [
            f"{a}_{b}"
            for a in ("beta", "gamma")
            for b in ("initializer", "regularizer", "constraint")
        ]
        own = {"axis": self.axis, "epsilon": self.epsilon, "scale": True, "center": True}
        return {**super().get_config(), **own, **dict.fromkeys(names)}


def network(norm: Any) -> tf_keras.Model:
    photo = tf_keras.Input((16, 24, 3))
    x = norm(tf_keras.layers.Conv2D(4, 3, padding="same")(photo))
    return tf_keras.Model(photo, tf_keras.layers.Conv2D(3, 3, padding="same")(x))


@pytest.mark.parametrize("axis", [None, -1])
def test_keras_contribs_instance_normalization_is_told_by_its_configuration(
    axis: int | None, tmp_path: Path
) -> None:
    model = network(InstanceNormalization(axis=axis, epsilon=0.5))
    for weight in model.weights:
        weight.assign(weight + 0.1)
    save_keras_2(model, tmp_path / "contrib.h5")
    image = np.random.default_rng(0).random((16, 24, 3), np.float32)
    output = read_model(tmp_path / "contrib.h5").at(16, 24).run(image)
    np.testing.assert_allclose(output, model(image[None])[0], atol=1e-5)


def renamed(path: Path, name: str, config: dict[str, Any] | None = None) -> Path:
    """Changes the class name of the normalization in a file, and its configuration."""
    with h5py.File(path, "r+") as file:
        stored = json.loads(file.attrs["model_config"])
        for layer in stored["config"]["layers"]:
            if "Normalization" in layer["class_name"]:
                layer["class_name"] = name
                layer["config"] |= config or {}
        file.attrs["model_config"] = json.dumps(stored)
    return path


@pytest.mark.parametrize(
    "name", ["mypackage>InstanceNormalization", "Custom>InstanceNormalization"]
)
def test_another_packages_layer_of_that_name_is_asked_for(name: str, tmp_path: Path) -> None:
    save_keras_2(network(InstanceNormalization()), tmp_path / "own.h5")
    with pytest.raises(InputError, match=r"InstanceNormalization.*custom_objects"):
        read_model(renamed(tmp_path / "own.h5", name))


def test_an_unregistered_layer_with_another_configuration_is_asked_for(tmp_path: Path) -> None:
    save_keras_2(network(InstanceNormalization()), tmp_path / "own.h5")
    path = renamed(tmp_path / "own.h5", "InstanceNormalization", {"momentum": 0.9})
    with pytest.raises(InputError, match=r"InstanceNormalization.*custom_objects"):
        read_model(path)


def test_a_layer_that_the_user_gives_comes_first(tmp_path: Path, monkeypatch: Any) -> None:
    save_keras_2(network(InstanceNormalization(epsilon=0.5)), tmp_path / "own.h5")
    (tmp_path / "mine.py").write_text(
        "import tf_keras\n"
        "class InstanceNormalization(tf_keras.layers.Layer):\n"
        "    def __init__(self, name=None, dtype=None, **_):\n"
        "        super().__init__(name=name, dtype=dtype)\n"
        "    def build(self, shape):\n"
        "        self.gamma = self.add_weight(name='gamma', shape=(1,))\n"
        "        self.beta = self.add_weight(name='beta', shape=(1,))\n"
        "    def call(self, x):\n"
        "        return x * 0\n",
        encoding="utf-8",
    )
    options = SourceOptions(custom_objects=(f"{tmp_path / 'mine.py'}:InstanceNormalization",))
    output = (
        read_model(tmp_path / "own.h5", options).at(16, 24).run(np.ones((16, 24, 3), np.float32))
    )
    assert not output.any()


def test_the_axis_of_a_channels_first_layer_is_refused() -> None:
    with pytest.raises(ValueError, match="axis 1"):
        ContribInstanceNormalization(axis=1)


@pytest.mark.parametrize("as_file", [True, False])
def test_a_module_that_imports_tensorflow_keras_fits_a_keras_2_file(
    as_file: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"layers_of_{'file' if as_file else 'module'}"
    (tmp_path / f"{name}.py").write_text(MODULE, encoding="utf-8")

    class Twice(tf_keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return tf.clip_by_value(2 * x, 0, 1)

    model = network(Twice())
    save_keras_2(model, tmp_path / "twice.h5")
    monkeypatch.chdir(tmp_path)
    options = SourceOptions(custom_objects=(f"{name}{'.py' if as_file else ''}:Twice",))
    image = np.random.default_rng(0).random((16, 24, 3), np.float32)
    output = read_model(tmp_path / "twice.h5", options).at(16, 24).run(image)
    np.testing.assert_allclose(output, model(image[None])[0], atol=1e-5)
    import tensorflow.keras

    assert "tf_keras" not in tensorflow.keras.layers.Layer.__module__, "the process keeps its Keras"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nothere.py:Twice", "no such file"),
        ("Twice", "the format is module:NAME or file.py:NAME"),
        ("json:Twice", "json has no Twice"),
    ],
)
def test_custom_objects_that_cannot_be_imported_are_refused(
    given: str, message: str, tmp_path: Path
) -> None:
    save_keras_2(network(tf_keras.layers.ReLU()), tmp_path / "net.h5")
    with pytest.raises(InputError, match=message):
        read_model(tmp_path / "net.h5", SourceOptions(custom_objects=(given,)))
