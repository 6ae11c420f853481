"""All source formats, each written by its original library."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from bokeh_convert import convert
from bokeh_convert.graph.op_inventory import count_operators
from bokeh_convert.graph.to_tflite import lower
from bokeh_convert.pynet.network import HEADS, pynet
from bokeh_convert.sources import SourceOptions, read_model
from bokeh_runtime import InputError, TfliteModel, read_metadata
from helpers.authors_graph import variable_shapes, write_checkpoint
from helpers.models import small_model

NARROW = SourceOptions(width=0.125, input_channels=3)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray, np.ndarray]:
    prefix = tmp_path_factory.mktemp("authors") / "pynet_level_0_iteration_100.ckpt"
    photo = np.random.default_rng(1).random((64, 96, 4), dtype=np.float32)
    return prefix, photo, write_checkpoint(prefix, photo, 0.125)


@pytest.mark.slow
def test_the_oracle_creates_the_authors_variables(data: Path) -> None:
    assert variable_shapes() == (data / "pynet_variable_shapes.txt").read_text().split()


@pytest.mark.slow
def test_an_authors_checkpoint_has_the_output_of_its_graph(checkpoint, tmp_path: Path) -> None:
    prefix, photo, expected = checkpoint
    # The weights are random, so that the output is no picture.
    (conversion,) = convert(
        prefix,
        quant=["float32"],
        width=0.125,
        size=(64, 96),
        input_range="0..1",
        output_range="0..1",
        output_dir=tmp_path,
    )
    assert conversion.path.name == "pynet_level_0_iteration_100_float32.tflite"
    actual = TfliteModel(conversion.path.read_bytes()).run(photo)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(actual, expected, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00001"])
def test_a_checkpoint_may_be_named_by_one_of_its_files(suffix: str, checkpoint) -> None:
    prefix, *_ = checkpoint
    model = read_model(prefix.with_name(prefix.name + suffix), SourceOptions(width=0.125))
    assert model.path == prefix
    assert len(model.files) == 2


@pytest.mark.slow
def test_the_file_says_how_the_authors_scaled_photos(checkpoint, tmp_path: Path) -> None:
    options = {"quant": ["float16"], "size": (64, 96), "width": 0.125}
    # The weights are random, so that the output is no picture.
    options |= {"input_range": "0..1", "output_range": "0..1"}
    (made,) = convert(checkpoint[0], output_dir=tmp_path, **options)
    assert read_metadata(made.path).resampling == "bicubic"
    (made,) = convert(checkpoint[0], output_dir=tmp_path, resampling="area", **options)
    assert read_metadata(made.path).resampling == "area"
    with pytest.raises(
        InputError, match="resampling='nearest' is unknown; choose from area, bicubic"
    ):
        convert(checkpoint[0], output_dir=tmp_path, resampling="nearest", **options)


@pytest.mark.slow
def test_a_checkpoint_of_another_width_names_the_first_layer(checkpoint) -> None:
    with pytest.raises(InputError, match=r"l1_d1_k3_1_conv has .*16, 8.* width=1\.0 .*16, 32"):
        read_model(checkpoint[0])


@pytest.mark.slow
def test_a_checkpoint_cut_short_is_refused(checkpoint, tmp_path: Path) -> None:
    for path in checkpoint[0].parent.glob("pynet*"):
        (tmp_path / path.name).write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="checkpoint reader cannot load it"):
        read_model(tmp_path / checkpoint[0].name, SourceOptions(width=0.125))


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.Variable(1.0)
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.train.Saver().save(session, str(tmp_path / "other"), write_meta_graph=False)
    with pytest.raises(InputError, match="has no variables generator/Variable_N"):
        read_model(tmp_path / "other")


@pytest.mark.slow
def test_a_folder_of_checkpoints_asks_which(checkpoint) -> None:
    with pytest.raises(InputError, match=r"give one of them: pynet_level_0_iteration_100\.ckpt"):
        read_model(checkpoint[0].parent)


@pytest.mark.slow
@pytest.mark.parametrize("heads", [("l_up",), ("l3",), HEADS], ids=["l_up", "l3", "all"])
def test_weights_of_keras_3_have_the_output_of_the_model(heads, tmp_path: Path) -> None:
    keras.utils.set_random_seed(2)
    model = pynet(width=0.125, input_channels=3, heads=heads)
    model.save_weights(tmp_path / "run.weights.h5")
    photo = np.random.default_rng(1).random((64, 96, 3), dtype=np.float32)
    expected = model(photo[None])
    sized = read_model(tmp_path / "run.weights.h5", NARROW).at(64, 96)
    assert sized.model.name == "run"
    np.testing.assert_allclose(
        sized.run(photo), (expected[-1] if len(heads) > 1 else expected)[0], atol=1e-5
    )


@pytest.mark.slow
def test_weights_in_keras_older_layout_are_known_by_name(tmp_path: Path) -> None:
    import h5py
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    keras.utils.set_random_seed(2)
    model = pynet(width=0.125, input_channels=3, heads=("l0",), residual=True)
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        save_weights_to_hdf5_group(file, model)
    options = SourceOptions(width=0.125, input_channels=3, residual=True)
    photo = np.random.default_rng(1).random((64, 96, 3), dtype=np.float32)
    actual = read_model(tmp_path / "weights.h5", options).at(64, 96).run(photo)
    np.testing.assert_allclose(actual, model(photo[None])[0], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "cause"),
    [
        (SourceOptions(width=0.25, input_channels=3), r"l2_d1_k3_1_conv has .* width=0\.25"),
        (SourceOptions(width=0.125), r"l1_d1_k3_1_conv has .*12, 8.* input_channels=4"),
        (SourceOptions(width=9), "width is 9"),
    ],
)
def test_weights_that_do_not_fit_name_the_first_layer(
    options: SourceOptions, cause: str, tmp_path: Path
) -> None:
    pynet(width=0.125, input_channels=3, heads=("l5",)).save_weights(tmp_path / "w.weights.h5")
    with pytest.raises(InputError, match=cause):
        read_model(tmp_path / "w.weights.h5", options)


def test_options_of_weights_are_refused_for_whole_models(small_keras: Path) -> None:
    with pytest.raises(InputError, match="contains a whole model; omit width"):
        read_model(small_keras, SourceOptions(width=0.5))


def _keras_3(path: Path):
    model = small_model()
    model.export(path, verbose=False)
    return model


def _keras_2(path: Path):
    photo = tf_keras.Input((None, None, 3))
    x = tf.nn.space_to_depth(photo, 2)
    x = tf_keras.layers.Conv2DTranspose(3, 3, strides=2, padding="same")(x)
    model = tf_keras.Model(photo, tf.tanh(x) * 0.58 + 0.5)
    model.save(path)
    return model


def _module(path: Path):
    class Network(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = tf.Variable(tf.random.normal([3, 3, 3, 3]))
            self.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer([1], [2]), 0)

        @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3], name="photo")])
        def __call__(self, photo):
            return {"bokeh": tf.nn.conv2d(photo, self.kernel, 1, "SAME")}

    network = Network()
    tf.saved_model.save(network, str(path), signatures={"draw": network.__call__})
    return lambda photo: network(photo)["bokeh"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*saved model:UserWarning")
@pytest.mark.parametrize("save", [_keras_3, _keras_2, _module])
def test_a_saved_model_has_the_output_of_the_model(save, tmp_path: Path) -> None:
    model = save(tmp_path / "my.model")
    photo = np.random.default_rng(1).random((32, 64, 3), dtype=np.float32)
    read = read_model(tmp_path / "my.model")
    assert (read.format, read.name) == ("saved-model", "my.model")
    np.testing.assert_allclose(read.at(32, 64).run(photo), model(photo[None])[0], atol=1e-5)
    actual = TfliteModel(lower(read.at(32, 64))).run(photo)
    np.testing.assert_allclose(actual, model(photo[None])[0], atol=1e-5)


def test_a_saved_model_of_tensorflow_1_has_the_output_of_its_graph(tmp_path: Path) -> None:
    v1 = tf.compat.v1
    photo = np.random.default_rng(1).random((32, 64, 3), dtype=np.float32)
    with tf.Graph().as_default(), v1.Session() as session:
        source = v1.placeholder(tf.float32, [1, 32, 64, 3])
        picture = tf.tanh(v1.nn.conv2d(source, v1.get_variable("k", [3, 3, 3, 3]), 1, "SAME"))
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(session, str(tmp_path / "v1"), {"a": source}, {"b": picture})
        expected = session.run(picture, {source: photo[None]})[0]
    model = read_model(tmp_path / "v1")
    assert (model.height, model.width) == (32, 64)
    np.testing.assert_allclose(model.at(32, 64).run(photo), expected, atol=1e-5)


def test_a_saved_model_without_a_serving_signature_is_refused(tmp_path: Path) -> None:
    tf.saved_model.save(tf.Module(), str(tmp_path / "empty"))
    with pytest.raises(InputError, match="has no signature 'serving_default'"):
        read_model(tmp_path / "empty")


@pytest.mark.slow
def test_a_saved_model_cut_short_is_refused(tmp_path: Path) -> None:
    small_model().export(tmp_path / "cut", verbose=False)
    graph = tmp_path / "cut" / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[:999])
    with pytest.raises(InputError, match="TensorFlow cannot load it"):
        read_model(tmp_path / "cut")


@pytest.fixture(scope="module")
def seven_heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("seven") / "seven.keras"
    pynet(width=0.125, input_channels=3, heads=HEADS).save(path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "name", "height", "convolutions"),
    [
        (SourceOptions(), "out_l_up", 128, 134),
        (SourceOptions(level="l0"), "out_l0", 64, 133),
        (SourceOptions(level="l5"), "out_l5", 2, 17),
        (SourceOptions(output_name="out_l4"), "out_l4", 4, 27),
    ],
)
def test_of_several_outputs_one_is_taken_and_what_others_need_is_gone(
    options: SourceOptions, name: str, height: int, convolutions: int, seven_heads: Path
) -> None:
    sized = read_model(seven_heads, options).at(64, 96)
    assert sized.output_name == name
    content = lower(sized)
    assert count_operators(content)["CONV_2D"] == convolutions
    assert TfliteModel(content).run(np.ones((64, 96, 3), np.float32)).shape[0] == height


@pytest.mark.slow
def test_an_unknown_output_lists_the_available_ones(seven_heads: Path, small_keras) -> None:
    with pytest.raises(InputError, match=r"no output nosuch; choose from .*out_l5 \(2 x 3\)"):
        read_model(seven_heads, SourceOptions(output_name="nosuch")).at(64, 96)
    with pytest.raises(InputError, match=r"no output of level l3 \(8 px high\) among out"):
        read_model(small_keras, SourceOptions(level="l3")).at(64, 96)


def test_level_and_output_name_exclude_each_other(small_keras: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give only one of them"):
        convert(small_keras, level="l0", output_name="out", output_dir=tmp_path)
    with pytest.raises(InputError, match="level='l9' is unknown; choose from"):
        convert(small_keras, level="l9", output_dir=tmp_path)
