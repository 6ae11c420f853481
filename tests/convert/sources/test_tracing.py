"""What is said of networks that cannot be traced or lowered, and what of them is left out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from bokeh_convert import convert
from bokeh_convert.graph.to_tflite import lower
from bokeh_convert.sources import SourceOptions, read_model
from bokeh_convert.sources.tracing import cause_of, layer_of
from bokeh_runtime import BokehModel, InputError
from helpers.models import save_keras_2

layers = keras.layers


def halved_and_doubled(input_size: tuple[int | None, int | None] = (None, None)) -> keras.Model:
    photo = keras.Input((*input_size, 3))
    half = layers.Conv2D(4, 3, strides=2, padding="same")(photo)
    whole = layers.UpSampling2D(2, name="whole_again")(half)
    return keras.Model(photo, layers.Conv2D(3, 3, padding="same")(whole))


def with_skip() -> keras.Model:
    photo = keras.Input((None, None, 3))
    half = layers.Conv2D(4, 3, strides=2, padding="same")(photo)
    whole = layers.UpSampling2D(2)(half)
    joined = layers.Concatenate(name="skip")([whole, photo])
    return keras.Model(photo, layers.Conv2D(3, 3, padding="same")(joined))


def saved(model: keras.Model, path: Path) -> Path:
    model.save(path)
    return path


@pytest.mark.parametrize("size", [(1080 // 8, 1920 // 8), (54, 96), (37, 53)])
def test_sizes_that_a_network_takes_need_no_multiple(size: tuple[int, int], tmp_path: Path) -> None:
    photo = keras.Input((None, None, 3))
    path = saved(keras.Model(photo, layers.Conv2D(3, 3, padding="same")(photo)), tmp_path / "a.h5")
    assert read_model(path).at(*size).run(np.zeros((*size, 3), np.float32)).shape == (*size, 3)


def test_a_layer_that_does_not_take_a_size_is_named_with_the_nearest_sizes(tmp_path: Path) -> None:
    path = saved(with_skip(), tmp_path / "skip.keras")
    message = r"31 x 48 px .*layer skip \(Concatenate\).*multiples of 2: give size 30x48 or 32x48"
    with pytest.raises(InputError, match=message) as caught:
        read_model(path).at(31, 48)
    assert "\n" not in str(caught.value)


def test_an_output_of_another_aspect_ratio_is_refused(tmp_path: Path) -> None:
    path = saved(halved_and_doubled(), tmp_path / "half.keras")
    with pytest.raises(InputError, match=r"output would have 32 x 48 px.*give size 30x48 or 32x48"):
        read_model(path).at(31, 48)
    assert read_model(path).at(30, 48).output_name


def test_a_network_that_takes_no_size_near_says_so_without_sizes(tmp_path: Path) -> None:
    photo = keras.Input((None, None, 3))
    network = keras.Model(photo, layers.Conv2D(3, 3, padding="valid")(photo))
    with pytest.raises(InputError, match=r"30 x 46 px.*give another size"):
        read_model(saved(network, tmp_path / "valid.keras")).at(32, 48)


def test_an_operator_that_tflite_lacks_is_named_with_its_layer(tmp_path: Path) -> None:
    photo = keras.Input((16, 24, 3))
    x = layers.Conv2D(4, 3, padding="same", name="before")(photo)
    x = keras.ops.erfinv(x * 0.01)
    path = saved(
        keras.Model(photo, layers.Conv2D(3, 3, padding="same")(x)), tmp_path / "erfinv.keras"
    )
    with pytest.raises(InputError, match="no operator for Erfinv in layer erfinv") as caught:
        lower(read_model(path).at(16, 24))
    assert "\n" not in str(caught.value)


def keras_2_network(after: Callable[[tf.Tensor], tf.Tensor]) -> tf_keras.Model:
    photo = tf_keras.Input((16, 24, 3))
    x = tf_keras.layers.Conv2D(4, 3, padding="same")(photo)
    return tf_keras.Model(photo, tf_keras.layers.Conv2D(3, 3, padding="same")(after(x)))


def test_dropout_in_training_mode_is_named(tmp_path: Path) -> None:
    network = keras_2_network(lambda x: tf_keras.layers.Dropout(0.5, name="drop")(x, training=True))
    save_keras_2(network, tmp_path / "drop.h5")
    with pytest.raises(InputError, match=r"output is random: layer drop.*training=False"):
        read_model(tmp_path / "drop.h5").at(16, 24)


def test_batch_normalization_in_training_mode_is_instance_normalization(tmp_path: Path) -> None:
    """At batch size 1 it normalizes by the image's own mean and variance."""
    norm = tf_keras.layers.BatchNormalization(name="norm")
    network = keras_2_network(lambda x: norm(x, training=True))
    save_keras_2(network, tmp_path / "norm.h5")
    image = np.random.default_rng(0).random((16, 24, 3), np.float32)
    before = [weight.numpy() for weight in norm.weights]
    sized = read_model(tmp_path / "norm.h5").at(16, 24)
    output = sized.run(image)
    np.testing.assert_allclose(output, network(image[None])[0], atol=1e-5)
    assert b"TFL3" in lower(sized)[:8]
    # The reader's own network: running it again is the same, as nothing is assigned.
    np.testing.assert_array_equal(sized.run(image), output)
    assert all(len(one.shape) == 1 for one in before)


def test_an_output_that_depends_on_an_assigned_variable_is_refused(tmp_path: Path) -> None:
    """The layer is called in training mode first, and then uses the averages of that call."""
    norm = tf_keras.layers.BatchNormalization(name="norm", momentum=0.0)
    network = keras_2_network(lambda x: norm(norm(x, training=True), training=False))
    save_keras_2(network, tmp_path / "norm.h5")
    with pytest.raises(InputError, match="depends on variables that it assigns"):
        read_model(tmp_path / "norm.h5").at(16, 24)


@pytest.mark.slow
def test_a_depth_map_of_its_own_keeps_its_range(tmp_path: Path) -> None:
    """The photo is taken in 0..255, the depth map in 0..1."""
    photo, depth = keras.Input((16, 24, 3), name="photo"), keras.Input((16, 24, 1), name="depth")
    x = layers.Rescaling(1 / 255)(photo)
    outputs = layers.Add()([x, layers.Multiply()([layers.Conv2D(3, 1, name="c")(depth), x])])
    network = keras.Model([photo, depth], outputs)
    network.get_layer("c").set_weights([np.full((1, 1, 1, 3), -0.5), np.zeros(3)])
    (float16,) = convert(
        saved(network, tmp_path / "two.keras"), output_dir=tmp_path, output_range="0..1"
    )
    image = np.random.default_rng(0).random((16, 24, 4), np.float32)
    expected = network([255 * image[None, ..., :3], image[None, ..., 3:]])[0]
    with BokehModel.open(float16.path, "cpu") as model:
        np.testing.assert_allclose(model.engine.run(image), expected, atol=2e-3)
        assert str(model.ranges.input) == "0..255"


def mean_of_the_row(x: Any) -> Any:
    """An activation of the user's own."""
    return x - keras.ops.mean(x, axis=-1, keepdims=True)


def channels_first(activation: Any, path: Path) -> Path:
    photo = keras.Input((3, 16, 24))
    x = layers.Conv2D(3, 1, data_format="channels_first", activation=activation, name="last")(photo)
    return saved(keras.Model(photo, x), path)


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.parametrize(
    "activation",
    [
        "softmax",
        "log_softmax",
        layers.Softmax(),
        layers.Activation("softmax"),
        layers.PReLU(),
        mean_of_the_row,
    ],
)
def test_a_channels_first_activation_over_the_last_axis_is_refused(
    activation: Any, suffix: str, tmp_path: Path
) -> None:
    path = channels_first(activation, tmp_path / f"first{suffix}")
    own = SourceOptions(custom_objects=[f"{__file__}:mean_of_the_row"])
    with pytest.raises(InputError, match=r"channels first.*last \(Conv2D\)"):
        read_model(path, own if activation is mean_of_the_row else SourceOptions())


@pytest.mark.parametrize(
    "activation", ["tanh", layers.LeakyReLU(negative_slope=0.2), layers.Activation("tanh")]
)
def test_a_channels_first_activation_of_single_values_is_turned(
    activation: Any, tmp_path: Path
) -> None:
    sized = read_model(channels_first(activation, tmp_path / "first.keras")).at(16, 24)
    image = np.random.default_rng(0).random((16, 24, 3), np.float32)
    network = keras.Sequential([layers.Conv2D(3, 1, activation=activation)])
    network.build((None, 16, 24, 3))
    network.set_weights(keras.saving.load_model(tmp_path / "first.keras").get_weights())
    np.testing.assert_allclose(sized.run(image), network(image[None])[0], atol=1e-5)


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_a_network_in_mixed_precision_is_computed_in_float32(suffix: str, tmp_path: Path) -> None:
    policy = keras.dtype_policies.DTypePolicy("mixed_float16")
    photo = keras.Input((16, 24, 3))
    x = layers.Conv2D(6, 3, padding="same", activation="relu", dtype=policy)(photo)
    network = keras.Model(photo, layers.Conv2D(3, 3, padding="same", dtype="float32")(x))
    sized = read_model(saved(network, tmp_path / f"mixed{suffix}")).at(16, 24)
    assert not any("Cast" in operation.type for operation in sized.concrete.graph.get_operations())
    image = np.random.default_rng(0).random((16, 24, 3), np.float32)
    # Half precision's own error, 2 ** -11 of values up to about 1.
    np.testing.assert_allclose(sized.run(image), network(image[None])[0], atol=4e-3)


def test_a_saved_model_in_mixed_precision_says_what_to_export(tmp_path: Path) -> None:
    policy = keras.dtype_policies.DTypePolicy("mixed_float16")
    photo = keras.Input((16, 24, 3))
    x = layers.Conv2D(6, 3, padding="same", dtype=policy, name="halved")(photo)
    network = keras.Model(photo, layers.Conv2D(3, 3, padding="same", dtype="float32")(x))
    network.export(tmp_path / "saved", verbose=False)
    message = r"layer .*halved.* half precision \(Conv2D\).*set_dtype_policy\('float32'\)"
    with pytest.raises(InputError, match=message) as caught:
        read_model(tmp_path / "saved").at(16, 24)
    assert "\n" not in str(caught.value)


class CountingNetwork(tf.Module):
    """A network that counts its calls, as a serving graph in training mode does."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = tf.Variable(0.0, name="calls")

    @tf.function(input_signature=[tf.TensorSpec([1, 16, 24, 3], tf.float32, name="image")])
    def serve(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"result": image + self.calls.assign_add(1.0)}


def test_a_serving_graph_that_assigns_variables_is_refused(tmp_path: Path) -> None:
    network = CountingNetwork()
    tf.saved_model.save(network, str(tmp_path / "saved"), signatures=network.serve)
    options = SourceOptions(trust_source=True)
    with pytest.raises(
        InputError, match=r"assigns a variable.*AssignAddVariableOp.*training=False"
    ):
        read_model(tmp_path / "saved", options).at(16, 24)


class Uint8Network(tf.Module):
    """A network as serving containers hold it: bytes in, bytes out."""

    def __init__(self) -> None:
        super().__init__()
        kernel = np.zeros((3, 3, 3, 3), np.float32)
        kernel[1, 1] = np.eye(3)
        self.kernel = tf.Variable(kernel)

    @tf.function(input_signature=[tf.TensorSpec([1, 32, 48, 3], tf.uint8, name="image")])
    def serve(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        x = tf.nn.conv2d(tf.cast(image, tf.float32) / 255.0, self.kernel, 1, "SAME")
        return {"result": tf.cast(tf.round(tf.clip_by_value(x, 0, 1) * 255), tf.uint8)}


@pytest.mark.slow
def test_a_uint8_signature_is_fed_bytes(tmp_path: Path) -> None:
    network = Uint8Network()
    tf.saved_model.save(network, str(tmp_path / "saved"), signatures=network.serve)
    (float16,) = convert(tmp_path / "saved", output_dir=tmp_path)
    assert float16.report.passed
    assert any("input range 0..255" in note for note in float16.report.notes)
    model = read_model(tmp_path / "saved")
    assert model.layout.takes_integers


def test_two_images_as_inputs_are_refused_by_name(tmp_path: Path) -> None:
    a, b = keras.Input((16, 24, 3), name="left"), keras.Input((16, 24, 3), name="right")
    network = keras.Model([a, b], layers.Conv2D(3, 3, padding="same")(layers.Add()([a, b])))
    with pytest.raises(InputError, match=r"left \[any, 16, 24, 3\] and right .*depth map of 1"):
        read_model(saved(network, tmp_path / "two.keras"))


def test_a_channels_first_network_with_a_layer_of_unknown_axes_is_refused(tmp_path: Path) -> None:
    photo = keras.Input((3, 16, 24))
    x = layers.Permute((2, 3, 1), name="turned")(photo)
    x = layers.Permute((3, 1, 2))(x)
    x = layers.Conv2D(3, 3, padding="same", data_format="channels_first")(x)
    path = tmp_path / "first.keras"
    keras.Model(photo, x).save(path)
    with pytest.raises(InputError, match=r"channels first.*turned \(Permute\).*channels_last"):
        read_model(path)


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        (
            "Exception encountered when calling Add.call().\n\n\x1b[1mshapes differ\x1b[0m\n\n"
            "Arguments received by Add.call():\n  • inputs=...",
            "shapes differ",
        ),
        ("first line\nthe cause, at the end.", "the cause, at the end"),
        ("", "ValueError"),
        ("bad shapes for '{{node a/b}} = Add[T=FLOAT](c, d)' with input shapes: []", "bad shapes"),
    ],
)
def test_the_cause_is_taken_from_where_a_library_puts_it(message: str, cause: str) -> None:
    assert cause_of(ValueError(message)) == cause


def test_the_layer_of_an_operator_is_its_scope() -> None:
    assert layer_of("net/block/conv/Conv2D") == "layer block/conv"
    assert layer_of("conv/Conv2D") == "layer conv"
    assert layer_of("Conv2D") == "operator Conv2D"


def test_both_outputs_of_a_layer_that_is_called_twice_can_be_chosen(tmp_path: Path, rng) -> None:
    photo = keras.Input((32, 48, 3))
    head = layers.Conv2D(3, 3, padding="same", name="head")
    model = keras.Model(photo, [head(photo), head(layers.ReLU()(1 - photo))])
    path = saved(model, tmp_path / "twice.keras")
    with pytest.raises(InputError, match=r"more than one output.*: head \(.*, head_1 \("):
        read_model(path).at(32, 48)
    image = rng.random((32, 48, 3), np.float32)
    for name, expected in zip(("head", "head_1"), model(image[np.newaxis]), strict=True):
        sized = read_model(path, SourceOptions(output_name=name)).at(32, 48)
        np.testing.assert_allclose(sized.run(image), expected[0], atol=1e-5)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_inputs_that_have_names_are_fed_by_them(suffix: str, tmp_path: Path, rng) -> None:
    # In the order of the alphabet, the depth map comes first.
    sizes = {"photo": (32, 48, 3), "depth": (32, 48, 1)}
    given = {name: keras.Input(size, name=name) for name, size in sizes.items()}
    output = layers.Conv2D(3, 1)(layers.Concatenate()([given["photo"], given["depth"]]))
    model = keras.Model(given, output)
    path = saved(model, tmp_path / f"named{suffix}")
    image = rng.random((32, 48, 4), np.float32)
    expected = model({"photo": image[np.newaxis, ..., :3], "depth": image[np.newaxis, ..., 3:]})
    np.testing.assert_allclose(read_model(path).at(32, 48).run(image), expected[0], atol=1e-5)


def test_a_network_without_convolutions_has_no_int8(tmp_path: Path) -> None:
    photo = keras.Input((32, 48, 3))
    model = keras.Model(photo, layers.Dense(3)(layers.Dense(8, activation="relu")(photo)))
    path = saved(model, tmp_path / "dense.keras")
    ranges = {"input_range": "0..1", "output_range": "0..1"}
    for scheme in ("int8", "dynamic"):
        with pytest.raises(InputError, match="has no convolution, and only these become int8"):
            convert(path, quant=[scheme], output_dir=tmp_path, **ranges)


class Mapped(tf.Module):  # type: ignore[misc]
    """A loop over the rows; of what each gives, TensorFlow does not know the shape."""

    @tf.function(input_signature=[tf.TensorSpec((1, 16, 24, 3), tf.float32)])
    def __call__(self, photo: tf.Tensor) -> tf.Tensor:
        return tf.map_fn(lambda row: row * 0.5, photo[0])[None]


class Branching(tf.Module):  # type: ignore[misc]
    @tf.function(input_signature=[tf.TensorSpec((1, 16, 24, 3), tf.float32)])
    def __call__(self, photo: tf.Tensor) -> tf.Tensor:
        return tf.cond(tf.reduce_mean(photo) > 0.3, lambda: photo, lambda: tf.sqrt(photo))


@pytest.mark.parametrize(
    ("module", "operator"), [(Mapped, "While in layer map"), (Branching, "If in operator cond")]
)
def test_control_flow_of_a_saved_model_is_named(module, operator: str, tmp_path: Path) -> None:
    tf.saved_model.save(module(), str(tmp_path / "saved"))
    sized = read_model(tmp_path / "saved").at(16, 24)
    with pytest.raises(InputError, match=rf"saved: {operator}.* is control flow.*unroll=True"):
        lower(sized)


@pytest.mark.parametrize("unroll", [False, True])
def test_recurrent_layers_must_be_unrolled(unroll: bool, tmp_path: Path) -> None:
    photo = keras.Input((16, 24, 3))
    x = keras.layers.Reshape((16, 72))(photo)
    x = keras.layers.GRU(72, return_sequences=True, unroll=unroll, name="rows")(x)
    path = tmp_path / "recurrent.keras"
    keras.Model(photo, keras.layers.Reshape((16, 24, 3))(x)).save(path)
    sized = read_model(path).at(16, 24)
    if unroll:
        lower(sized)
        return
    with pytest.raises(
        InputError, match=r"recurrent\.keras: While in layer rows.* is control flow"
    ):
        lower(sized)
