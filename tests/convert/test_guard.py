"""Sources that carry code are refused before any of it runs. Each file here would leave a mark."""

from __future__ import annotations

import contextlib
import json
import pickle
import sys
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from bokeh_convert.sources import SourceOptions, read_model
from bokeh_runtime import InputError
from helpers.models import small_model

pytestmark = pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")


def _leaves_a_mark(mark: Path):
    # A default argument travels in the file with the bytecode, as an attacker's path would.
    def code(x, mark=str(mark)):
        open(mark, "w").close()  # noqa: PTH123
        return x

    return code


def test_bytecode_in_a_keras_2_file_is_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    photo = tf_keras.Input((None, None, 3))
    layer = tf_keras.layers.Lambda(_leaves_a_mark(mark))
    tf_keras.Model(photo, layer(photo)).save(tmp_path / "evil.h5")
    mark.unlink()  # building the model made it
    tf_keras.models.load_model(tmp_path / "evil.h5", safe_mode=True)
    assert mark.exists(), "the file does not do what it is here for"
    mark.unlink()
    with pytest.raises(InputError, match="Lambda layer, which is code"):
        read_model(tmp_path / "evil.h5")
    assert not mark.exists()


def test_bytecode_in_a_keras_3_file_is_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    photo = keras.Input((None, None, 3))
    # Keras 3 stores a lambda as bytecode (any other function by its name), the path inside it.
    code = eval(f"lambda x: (open({str(mark)!r}, 'w').close(), x)[1]")
    layer = keras.layers.Lambda(code)
    keras.Model(photo, layer(photo)).save(tmp_path / "evil.keras")
    mark.unlink(missing_ok=True)
    keras.saving.load_model(tmp_path / "evil.keras", safe_mode=False)
    assert mark.exists(), "the file does not do what it is here for"
    mark.unlink()
    with pytest.raises(InputError, match="Lambda layer, which is code"):
        read_model(tmp_path / "evil.keras")
    assert not mark.exists()


def test_a_trusted_source_is_run(tmp_path: Path, rng: np.random.Generator) -> None:
    photo = keras.Input((None, None, 3))
    picture = keras.layers.Lambda(lambda x: x * 0.5)(photo)
    keras.Model(photo, picture).save(tmp_path / "mine.keras")
    image = rng.random((32, 32, 3), dtype=np.float32)
    model = read_model(tmp_path / "mine.keras", SourceOptions(trust_source=True))
    np.testing.assert_allclose(model.at(32, 32).run(image), image * 0.5)


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    mark = tmp_path / "mark"

    class Evil:
        def __reduce__(self):
            return Path.touch, (mark,)

    (tmp_path / "model.h5").write_bytes(pickle.dumps(Evil()))
    pickle.loads((tmp_path / "model.h5").read_bytes())
    assert mark.exists(), "the file does not do what it is here for"
    mark.unlink()
    with pytest.raises(InputError, match="is a pickle"):
        read_model(tmp_path / "model.h5")
    assert not mark.exists()


def _writes_when_loaded(path: Path, mark: Path) -> None:
    """A Keras 2 file whose configuration calls tf.io.write_file."""
    photo = tf_keras.Input((None, None, 3))
    picture = tf.nn.leaky_relu(photo)
    extra = tf.identity(picture)
    tf_keras.Model(photo, [picture, extra]).save(path)
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        layer = config["config"]["layers"][-1]
        layer["config"]["function"] = "io.write_file"
        # A call whose arguments are constants is made while the model is built.
        layer["inbound_nodes"] = [["_CONSTANT_VALUE", -1, str(mark), {"contents": "was here"}]]
        file.attrs["model_config"] = json.dumps(config)


def test_a_function_that_writes_files_is_not_called(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    _writes_when_loaded(tmp_path / "evil.h5", mark)
    with contextlib.suppress(Exception):  # the call gives no tensor, but it has been made
        tf_keras.models.load_model(tmp_path / "evil.h5", safe_mode=True)
    assert mark.read_text() == "was here", "the file does not do what it is here for"
    mark.unlink()
    with pytest.raises(InputError, match=r"calls tf\.io\.write_file"):
        read_model(tmp_path / "evil.h5")
    assert not mark.exists()


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
    with pytest.raises(InputError, match=r"of somebody\.elses, which is not known here"):
        read_model(tmp_path / "evil.keras")


class _Writer(tf.Module):
    """Writes a file when its signature is called."""

    def __init__(self, mark: Path) -> None:
        super().__init__()
        self.mark = str(mark)

    @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3], name="photo")])
    def draw(self, photo):
        tf.io.write_file(self.mark, "was here")
        return photo


class _Reader(_Writer):
    @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3], name="photo")])
    def draw(self, photo):
        length = tf.strings.length(tf.io.read_file(self.mark))
        return photo + tf.cast(length, tf.float32)


class _Script(_Writer):
    @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3], name="photo")])
    def draw(self, photo):
        return tf.ensure_shape(tf.numpy_function(lambda x: x, [photo], tf.float32), photo.shape)


def _save(module: _Writer, path: Path) -> None:
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.draw})


def test_a_saved_model_that_writes_files_is_not_called(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    _save(_Writer(mark), tmp_path / "evil")
    loaded = tf.saved_model.load(str(tmp_path / "evil"))
    loaded.signatures["serving_default"](photo=tf.zeros([1, 8, 8, 3]))
    assert mark.exists(), "the folder does not do what it is here for"
    mark.unlink()
    with pytest.raises(InputError, match="runs the operator WriteFile"):
        read_model(tmp_path / "evil")
    assert not mark.exists()


@pytest.mark.parametrize(("module", "operator"), [(_Reader, "ReadFile"), (_Script, "PyFunc")])
def test_a_saved_model_that_reads_files_or_calls_python_is_refused(
    module: type[_Writer], operator: str, tmp_path: Path
) -> None:
    _save(module(tmp_path / "mark"), tmp_path / "evil")
    with pytest.raises(InputError, match=f"runs the operator .*{operator}"):
        read_model(tmp_path / "evil")


def test_a_resource_that_writes_when_loaded_is_not_loaded(tmp_path: Path) -> None:
    from tensorflow.python.trackable.resource import TrackableResource

    mark = tmp_path / "mark"

    class Table(TrackableResource):
        def _create_resource(self):
            return tf.raw_ops.MutableHashTableV2(key_dtype=tf.int64, value_dtype=tf.int64)

        def _initialize(self):
            tf.io.write_file(str(mark), "was here")

    class Network(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = Table()
            self.handle = self.table.resource_handle

        @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3], name="photo")])
        def draw(self, photo):
            return photo

    _save(Network(), tmp_path / "evil")
    mark.unlink(missing_ok=True)
    tf.saved_model.load(str(tmp_path / "evil"))
    assert mark.exists(), "the folder does not do what it is here for"
    mark.unlink()
    with pytest.raises(InputError, match="runs the operator WriteFile"):
        read_model(tmp_path / "evil")
    assert not mark.exists()


def test_a_trusted_folder_is_loaded(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    mark.write_text("ab")
    _save(_Reader(mark), tmp_path / "mine")
    model = read_model(tmp_path / "mine", SourceOptions(trust_source=True))
    drawn = model.at(32, 32).run(np.zeros((32, 32, 3), np.float32))
    np.testing.assert_array_equal(drawn, 2)


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
    """A module of the user's in the current folder."""
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
    with pytest.raises(InputError, match=r"class Halve.*--custom-objects \w+:Halve"):
        read_model(module)
    image = rng.random((32, 32, 3), dtype=np.float32)
    options = SourceOptions(custom_objects=("my_layers:Halve",))
    np.testing.assert_allclose(read_model(module, options).at(32, 32).run(image), image * 0.5)


@pytest.mark.parametrize(
    ("given", "cause"),
    [
        ("my_layers", "write it as module:NAME"),
        ("no_such_module:Halve", "importing no_such_module failed"),
        ("json:Halve", "json has no Halve"),
    ],
)
def test_a_class_that_cannot_be_imported_is_said(given: str, cause: str, small_keras: Path) -> None:
    with pytest.raises(InputError, match=cause):
        read_model(small_keras, SourceOptions(custom_objects=(given,)))
