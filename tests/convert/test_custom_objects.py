"""Trusted sources and classes of the user's. For hostile files see tests/attacks/."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from bokeh_convert.sources import SourceOptions, read_model
from bokeh_runtime import InputError
from helpers.models import small_model

pytestmark = pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")


def test_a_trusted_source_is_run(tmp_path: Path, rng: np.random.Generator) -> None:
    photo = keras.Input((None, None, 3))
    picture = keras.layers.Lambda(lambda x: x * 0.5)(photo)
    keras.Model(photo, picture).save(tmp_path / "mine.keras")
    image = rng.random((32, 32, 3), dtype=np.float32)
    model = read_model(tmp_path / "mine.keras", SourceOptions(trust_source=True))
    np.testing.assert_allclose(model.at(32, 32).run(image), image * 0.5)


def test_a_class_of_an_unknown_module_is_not_imported(tmp_path: Path) -> None:
    small_model().save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = parts["config.json"].replace(b"bokeh_convert.pynet.layers", b"somebody.elses")
    assert config != parts["config.json"]
    parts["config.json"] = config
    with zipfile.ZipFile(tmp_path / "evil.keras", "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    with pytest.raises(InputError, match=r"needs the unknown class \w+ of somebody\.elses"):
        read_model(tmp_path / "evil.keras")


class _Reader(tf.Module):
    """Reads a file when its signature is called."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = str(file)

    @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3], name="photo")])
    def draw(self, photo):
        length = tf.strings.length(tf.io.read_file(self.file))
        return photo + tf.cast(length, tf.float32)


@pytest.mark.slow
def test_a_trusted_folder_is_loaded(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    mark.write_text("ab")
    network = _Reader(mark)
    signatures = {"serving_default": network.draw}
    tf.saved_model.save(network, str(tmp_path / "mine"), signatures=signatures)
    model = read_model(tmp_path / "mine", SourceOptions(trust_source=True))
    actual = model.at(32, 32).run(np.zeros((32, 32, 3), np.float32))
    np.testing.assert_array_equal(actual, 2)


_KERAS_3_LAYER = """
import keras


@keras.saving.register_keras_serializable(package="mine")
class Halve(keras.layers.Layer):
    def call(self, x):
        return x * 0.5
"""
_KERAS_2_LAYER = """
import tf_keras


class Halve(tf_keras.layers.Layer):
    def call(self, x):
        return x * 0.5
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest):
    """A model with a layer class from a module in the current folder."""
    text, library, suffix = request.param
    (tmp_path / "my_layers.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_layers", raising=False)
    import my_layers  # type: ignore[import-not-found]

    photo = library.Input((None, None, 3))
    path = tmp_path / f"mine{suffix}"
    library.Model(photo, my_layers.Halve()(photo)).save(path)
    del sys.modules["my_layers"]
    registered = keras.saving.get_custom_objects()
    before = dict(registered)
    registered.pop("mine>Halve", None)
    yield path
    registered.clear()
    registered.update(before)
    registered.pop("mine>Halve", None)
    sys.modules.pop("my_layers", None)


@pytest.mark.parametrize(
    "module",
    [
        (_KERAS_3_LAYER, keras, ".keras"),
        (_KERAS_3_LAYER, keras, ".h5"),
        (_KERAS_2_LAYER, tf_keras, ".h5"),
    ],
    indirect=True,
    ids=["keras3", "keras3-h5", "keras2"],
)
def test_a_class_of_the_users_is_asked_for_and_then_used(
    module: Path, rng: np.random.Generator
) -> None:
    with pytest.raises(InputError, match=r"class Halve.*custom_objects=\['\w+:Halve'\]"):
        read_model(module)
    image = rng.random((32, 32, 3), dtype=np.float32)
    options = SourceOptions(custom_objects=("my_layers:Halve",))
    np.testing.assert_allclose(read_model(module, options).at(32, 32).run(image), image * 0.5)


@pytest.mark.parametrize(
    ("given", "cause"),
    [
        ("my_layers", "the format is module:NAME"),
        ("no_such_module:Halve", "importing no_such_module failed"),
        ("json:Halve", "json has no Halve"),
    ],
)
def test_a_class_that_cannot_be_imported_is_reported(
    given: str, cause: str, small_keras: Path
) -> None:
    with pytest.raises(InputError, match=cause):
        read_model(small_keras, SourceOptions(custom_objects=(given,)))
