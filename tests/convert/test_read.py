from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from functools import partial
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from bokeh_convert import convert
from bokeh_convert.sources import SourceOptions, read_model
from bokeh_runtime.errors import InputError
from helpers.models import small_model

pytestmark = pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")


@pytest.mark.parametrize("name", ["keras2_moments", "keras2_addons"])
def test_files_of_tensorflow_2_15_have_the_same_output_here(name: str, data: Path) -> None:
    with np.load(data / f"{name}.npz") as file:
        photo, expected = file["photo"][0], file["bokeh"][0]
    model = read_model(data / f"{name}.h5")
    assert model.format == "keras2-h5"
    np.testing.assert_allclose(model.at(*photo.shape[:2]).run(photo), expected, atol=2e-6)


@pytest.mark.parametrize(
    ("suffix", "file_format"), [(".h5", "keras3-h5"), (".keras", "keras3-zip"), (".bin", None)]
)
def test_files_of_keras_3_have_the_output_of_the_model(
    suffix: str, file_format: str | None, tmp_path: Path, rng: np.random.Generator
) -> None:
    model = small_model()
    path = tmp_path / f"model{suffix}"
    if file_format is None:  # the format of a renamed file is read from its content
        model.save(tmp_path / "model.keras")
        shutil.move(tmp_path / "model.keras", path)
    else:
        model.save(path)
    read = read_model(path)
    assert read.format == (file_format or "keras3-zip")
    photo = rng.random((32, 64, 3), dtype=np.float32)
    np.testing.assert_allclose(read.at(32, 64).run(photo), model(photo[None])[0], atol=1e-6)


def test_files_from_before_the_layers_moved_still_open(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    model = small_model()
    model.save(tmp_path / "now.keras")
    with (
        zipfile.ZipFile(tmp_path / "now.keras") as now,
        zipfile.ZipFile(tmp_path / "then.keras", "w") as then,
    ):
        for name in now.namelist():
            content = now.read(name)
            if name == "config.json":
                assert b"bokeh_convert.pynet.layers" in content
                content = content.replace(b"bokeh_convert.pynet.layers", b"bokeh_convert.layers")
            then.writestr(name, content)
    photo = rng.random((32, 64, 3), dtype=np.float32)
    actual = read_model(tmp_path / "then.keras").at(32, 64).run(photo)
    np.testing.assert_allclose(actual, model(photo[None])[0], atol=1e-6)


def test_the_largest_of_several_outputs_is_taken(tmp_path: Path) -> None:
    photo = keras.Input((None, None, 3))
    same = keras.layers.Conv2D(3, 1)(photo)
    half = keras.layers.MaxPooling2D(2)(same)
    keras.Model(photo, [half, same]).save(tmp_path / "two.keras")
    actual = read_model(tmp_path / "two.keras").at(32, 64).run(np.ones((32, 64, 3), np.float32))
    assert actual.shape == (32, 64, 3)


def test_one_of_several_outputs_of_the_same_size_must_be_chosen(tmp_path: Path) -> None:
    photo = keras.Input((None, None, 3))
    first = keras.layers.Conv2D(3, 1, name="sharp")(photo)
    second = keras.layers.Conv2D(3, 1, name="bokeh")(photo)
    half = keras.layers.MaxPooling2D(2, name="half")(first)
    path = tmp_path / "three.keras"
    keras.Model(photo, [half, first, second]).save(path)
    said = (
        r"three\.keras: more than one output may be the image: half \(16 x 32\), "
        r"sharp \(32 x 64\), bokeh \(32 x 64\); choose one with output_name"
    )
    with pytest.raises(InputError, match=said):
        read_model(path).at(32, 64)
    chosen = read_model(path, SourceOptions(output_name="bokeh")).at(32, 64)
    assert chosen.output_name == "bokeh"


def test_of_several_outputs_the_only_rgb_image_is_used(tmp_path: Path) -> None:
    photo = keras.Input((None, None, 3))
    mask = keras.layers.Conv2D(1, 1, name="mask")(photo)
    picture = keras.layers.MaxPooling2D(2, name="picture")(photo)
    keras.Model(photo, [mask, picture]).save(tmp_path / "two.keras")
    assert read_model(tmp_path / "two.keras").at(32, 64).output_name == "picture"


def test_outputs_of_unknown_size_are_not_guessed_from(tmp_path: Path) -> None:
    class Two(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3], tf.float32, name="photo")])
        def draw(self, photo):
            # Cropped to a size that depends on the values.
            rows = tf.cast(tf.reduce_max(photo) * 8, tf.int32)
            return {"one": photo[:, :rows] * 0.5, "other": photo[:, :rows]}

    module = Two()
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures=module.draw)
    with pytest.raises(InputError, match=r"one \(None x 64\), other \(None x 64\); choose one"):
        read_model(tmp_path / "saved").at(32, 64)


def test_a_fixed_size_is_not_changed(tmp_path: Path) -> None:
    small_model(size=(32, 64)).save(tmp_path / "fixed.keras")
    model = read_model(tmp_path / "fixed.keras")
    assert (model.height, model.width) == (32, 64)
    with pytest.raises(InputError, match="fixed at 32 x 64 px; omit size"):
        model.at(64, 64)


@pytest.mark.parametrize(
    ("size", "fixed", "given"),
    [((None, 64), "a width of 64 px", "Hx64"), ((32, None), "a height of 32 px", "32xW")],
)
def test_one_fixed_side_is_named(
    size: tuple[int | None, int | None], fixed: str, given: str, tmp_path: Path
) -> None:
    small_model(size=size).save(tmp_path / "strip.keras")
    with pytest.raises(InputError, match=f"fixed at {fixed}; give size='{given}'"):
        read_model(tmp_path / "strip.keras").at(48, 48)
    with pytest.raises(InputError, match=f"the model fixes only {fixed}; give size='{given}'"):
        convert(tmp_path / "strip.keras", output_dir=tmp_path)
    assert read_model(tmp_path / "strip.keras").at(32, 64)


def test_a_model_without_an_rgb_output_is_refused(tmp_path: Path) -> None:
    photo = keras.Input((None, None, 3))
    keras.Model(photo, keras.layers.Conv2D(1, 1)(photo)).save(tmp_path / "grey.keras")
    with pytest.raises(InputError, match=r"grey\.keras: has no output with 3 channels"):
        read_model(tmp_path / "grey.keras").at(32, 32)


def _weights_alone(path: Path) -> None:
    small_model().save_weights(path.with_suffix(".weights.h5"))
    shutil.move(path.with_suffix(".weights.h5"), path)


def _truncated_h5(path: Path) -> None:
    small_model().save(path)
    path.write_bytes(path.read_bytes()[:4000])


def _truncated_zip(path: Path) -> None:
    small_model().save(path.with_suffix(".keras"))
    path.write_bytes(path.with_suffix(".keras").read_bytes()[:4000])


def _other_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("letter.txt", "hello")


def _three_inputs(path: Path) -> None:
    inputs = [keras.Input((None, None, channels)) for channels in (3, 1, 1)]
    both = keras.layers.Concatenate()(inputs)
    keras.Model(inputs, keras.layers.Conv2D(3, 1)(both)).save(path)


def _channels(path: Path, channels: int) -> None:
    photo = keras.Input((None, None, channels))
    keras.Model(photo, keras.layers.Conv2D(3, 1)(photo)).save(path)


_two_channels, _five_channels = (partial(_channels, channels=n) for n in (2, 5))


def _unknown_layer(path: Path) -> None:
    small_model().save(path)
    with h5py.File(path, "r+") as file:
        config = file.attrs["model_config"]
        file.attrs["model_config"] = config.replace("LeakyReLU", "NobodysReLU")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.mkdir(), "is a folder without a saved_model.pb"),
        (lambda path: path.write_bytes(pickle.dumps([1, 2])), "is a pickle"),
        (lambda path: path.touch(), "is empty"),
        (lambda path: path.write_text("not a model at all"), "neither HDF5"),
        (_truncated_h5, "truncated or damaged"),
        (_truncated_zip, "truncated or damaged"),
        (_other_zip, "has no Keras model"),
        (_weights_alone, "not a PyNET with one head or all seven"),
        (_three_inputs, "has 3 inputs"),
        (_two_channels, "2 channels"),
        (_five_channels, "5 channels"),
        (_unknown_layer, "NobodysReLU"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(make, cause: str, tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    make(path)
    with pytest.raises(InputError, match=cause) as refusal:
        read_model(path)
    assert str(refusal.value).startswith(str(path))
    assert "\n" not in str(refusal.value)


def test_tf_keras_files_of_today_are_read_too(tmp_path: Path, rng: np.random.Generator) -> None:
    photo = tf_keras.Input((None, None, 3))
    x = tf.nn.space_to_depth(photo, 2)
    x = tf_keras.layers.Conv2DTranspose(3, 3, strides=2, padding="same")(x)
    model = tf_keras.Model(photo, tf.tanh(x) * 0.58 + 0.5)
    model.save(tmp_path / "today.h5")
    with h5py.File(tmp_path / "today.h5") as file:
        assert "TFOpLambda" in json.dumps(json.loads(file.attrs["model_config"]))
    image = rng.random((32, 32, 3), dtype=np.float32)
    actual = read_model(tmp_path / "today.h5").at(32, 32).run(image)
    np.testing.assert_allclose(actual, model(image[None])[0], atol=1e-6)
